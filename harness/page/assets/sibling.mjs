// The page in the other frame, if two are shown side by side: what is selected here is selected there, and two recorded runs show
// the same time. After a click on a difference the two times stay as far apart as they are there.

export class Sibling {
  // `select(selection)` and `show(t)` do what the other frame tells.
  constructor(select, show) {
    Object.assign(this, { select, show });
    this.isThere = parent !== window;
    this.told = null; // the time that both know
    this.apart = 0; // the other's time minus this one's
    if (!this.isThere) return;
    document.body.classList.add("pane");
    addEventListener("message", (event) => { if (event.source === parent && event.origin === location.origin) this.take(event.data); });
  }

  take({ selection, t, apart }) {
    if (selection !== undefined) this.select(selection);
    if (t === undefined) return;
    this.told = t;
    this.apart = apart;
    this.show(t);
  }

  tell(message) { if (this.isThere) parent.postMessage(message, location.origin); }
  tellSelection(selection) { this.tell({ selection }); }

  tellTime(t) {
    if (t === this.told || !Number.isFinite(t)) return;
    this.told = t;
    this.tell({ t: t + this.apart, apart: -this.apart });
  }

  // Goes to the times of a difference, each in its frame. Where nothing more comes, the frame shows the end of what it has.
  goTo({ t, t_there: there }, last) {
    this.apart = there === null || t === null ? 0 : there - t;
    this.show(t ?? Math.min(there, last));
  }
}
