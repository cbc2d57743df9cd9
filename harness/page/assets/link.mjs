// The link to what is shown: the fragment of the address holds the chapter and its step, or the algorithm, and the moment.
// A browser sends no fragment to any server.
//
//   #chapter=vote&step=2      ends the chapter that is told, opens this one, and goes through the steps before the second one
//   #algorithm=paxos&t=1.25   shows the moment 1.25 seconds after the first event

const WRITTEN_MS = 400;

export class Link {
  // `changed()` is called when the reader has followed another link.
  constructor(changed) {
    this.read();
    this.written = 0;
    addEventListener("hashchange", () => { if (location.hash !== this.own) { this.read(); changed(); } });
  }

  read() { this.own = location.hash; this.wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1))); }

  // Follows the link as far as it can be followed now. `page` is the page's state, `say` shows a sentence.
  follow(page, store, say) {
    const { chapter, step = "1", algorithm, t } = this.wanted, { tour } = page;
    if (chapter !== undefined && tour.state) {
      const wrong = tour.refusal(chapter, step), isHere = !wrong && tour.state.chapter === chapter && tour.step === Number(step);
      if (!isHere) delete this.wanted.t; // it is of another run
      say(wrong ? `The link leads nowhere. ${wrong}` : "");
      if (!wrong && !isHere) tour.open(chapter, Number(step));
      delete this.wanted.chapter;
      delete this.wanted.step;
    }
    if (algorithm !== undefined) {
      if (algorithm !== page.about.algorithm) say(`The link is about ${algorithm}, and this page shows ${page.about.algorithm}: \`consensus live ${algorithm}\` shows it.`);
      delete this.wanted.algorithm;
    }
    if (t !== undefined && store.first !== null && page.about.nodes.length) {
      if (Number.isFinite(Number(t))) page.clock.show(store.first + Number(t) * 1e6);
      delete this.wanted.t;
    }
  }

  // Writes into the address what is shown.
  write(page, store) {
    if (performance.now() - this.written < WRITTEN_MS || Object.keys(this.wanted).length) return;
    this.written = performance.now();
    const { tour, clock, about } = page, parts = new URLSearchParams();
    if (tour.state?.chapter) { parts.set("chapter", tour.state.chapter); parts.set("step", tour.step); } else if (about.nodes.length) parts.set("algorithm", about.algorithm);
    if (about.nodes.length && !clock.follows && store.first !== null && Number.isFinite(clock.t)) parts.set("t", ((clock.t - store.first) / 1e6).toFixed(6));
    const own = parts.size ? `#${parts}` : "";
    if (own === this.own) return;
    this.own = own;
    history.replaceState(null, "", own || location.pathname);
  }
}
