// The bar below the picture: a slider over the whole run, with play, speed and steps, and marks of what happened when.

import { button, h, s, say, seconds } from "./dom.js";
import { SPEEDS } from "./clock.mjs";
import { valueMark } from "./marks.js";

const KINDS = ["message", "decision", "fault", "call"];
const MARKS_MAX = 600;

export class TimeBar {
  // `differences` are those from the run in the other frame. `stepUs` is how long a step of the virtual twin takes, in microseconds; null for a run in real time.
  constructor(parent, store, clock, changed, stepUs = null, differences = []) {
    Object.assign(this, { store, clock, changed, stepUs, differences });
    this.focus = null;
    this.kind = h("select", { "aria-label": "what to step over", id: "step-kind" }, KINDS.map((kind) => h("option", { value: kind }, kind)));
    this.speed = h("select", { "aria-label": "speed", onchange: () => { clock.speed = Number(this.speed.value); } },
      SPEEDS.map(([name, factor]) => h("option", { value: factor, selected: factor === clock.speed }, `× ${name}`)));
    this.toggle = button("▶", () => this.playOrPause(), { "aria-label": "play", id: "play" });
    this.live = button(stepUs ? "now" : "live", () => { clock.follow(); this.focus = null; changed(); }, { id: "live", "aria-pressed": "true", hidden: !clock.isLive });
    this.slider = h("input", { type: "range", id: "slider", "aria-label": "time", min: 0, max: 1000, step: "any",
      oninput: () => { this.focus = null; clock.show(Number(this.slider.value) * 1000); changed(); } });
    this.time = h("output", { id: "moment", for: "slider" });
    this.marks = s("svg", { class: "marks", preserveAspectRatio: "none", viewBox: "0 0 1000 20", "aria-hidden": "true" });
    this.about = h("p", { id: "step-text", "aria-live": "polite" });
    this.controls = h("div", { class: "controls" },
      button("◀ step", () => this.step(-1), { id: "previous" }), this.toggle, button("step ▶", () => this.step(1), { id: "next" }),
      this.kind, this.speed, this.live, this.time, this.about);
    parent.append(this.controls, h("div", { class: "track" }, this.marks, this.slider));
    this.drawn = -1;
  }

  playOrPause() {
    this.focus = null;
    if (this.clock.plays) this.clock.show(this.clock.t);
    else {
      if (this.clock.t >= this.clock.now(this.store.last)) this.clock.show(this.store.first ?? 0);
      this.clock.play();
    }
    this.changed();
  }

  // Goes to the next or the previous event of the chosen kind, and says what it is.
  step(way) {
    const { store, clock } = this, kind = this.kind.value;
    if (kind === "message") {
      const order = store.order;
      let place = this.focus ? order.indexOf(this.focus) + way : order.findIndex((message) => message.t > clock.t) - (way < 0 ? 1 : 0);
      if (!this.focus && place < -1) place = order.length - 1;
      if (!this.focus && place === -1) place = way < 0 ? order.length - 1 : order.length;
      const found = order[place];
      if (!found) return;
      this.focus = found;
      clock.show(found.t);
      this.say(`${found.from} → ${found.to}: ${found.label}, ${found.at.map(([, fate]) => fate).join(", then ")}`);
    } else {
      const moments = store.moments(kind);
      const t = way > 0 ? moments.find((moment) => moment > clock.t) : moments.findLast((moment) => moment < clock.t);
      if (t === undefined) return;
      this.focus = null;
      clock.show(t);
      this.say(this.describe(kind, t));
    }
    this.changed();
  }

  // A long text is cut short to one line; its title has all of it.
  say(text) {
    say(this.about, { textContent: text, title: text });
  }

  describe(kind, t) {
    const { store } = this;
    if (kind === "decision") return store.decided.filter((one) => one.t === t).map((one) => `${one.node} knows that ${one.variable} is ${one.value}`).join("; ");
    if (kind === "fault") return [...store.faults.values()].filter((one) => one.t === t || one.t1 === t).map((one) => `${one.name} ${one.t1 === t ? "ends" : "begins"}: ${one.what}`).join("; ");
    return [...store.calls.values()].filter((one) => one.t === t || one.t1 === t)
      .map((one) => (one.t === t ? `a client calls: ${one.asked}${one.at ? ` at ${one.at}` : ""}` : `${one.asked}: ${one.answer}`)).join("; ");
  }

  draw(t) {
    const { store, clock } = this;
    const first = (store.first ?? 0), last = Math.max(clock.now(store.last), first + 1000);
    this.slider.min = first / 1000;
    this.slider.max = last / 1000;
    if (document.activeElement !== this.slider || clock.follows || clock.plays) this.slider.value = t / 1000;
    const moment = this.stepUs ? `step ${Math.floor(Math.min(t, store.last) / this.stepUs + 1e-6)} of ${Math.round(store.last / this.stepUs)}` : `${seconds(t - first, clock.follows ? 1 : 4)} of ${seconds(last - first, 1)}`;
    say(this.time, { textContent: moment });
    say(this.toggle, { textContent: clock.plays ? "❚❚" : "▶" });
    this.toggle.setAttribute("aria-label", clock.plays ? "pause" : "play");
    this.live.setAttribute("aria-pressed", String(clock.follows));
    if (clock.follows) this.say("");
    if (performance.now() - this.drawn > 400) { this.drawn = performance.now(); this.drawMarks(first, last); }
  }

  drawMarks(first, last) {
    const { store } = this, x = (t) => (t - first) / (last - first) * 1000;
    const bars = [];
    for (const fault of [...store.faults.values()].slice(-MARKS_MAX)) {
      bars.push(s("rect", { class: `fault ${fault.mark ? "marked" : fault.nodes.length ? "of-nodes" : ""}`, x: x(fault.t), y: 12, width: Math.max(x(fault.t1 ?? last) - x(fault.t), 2), height: 8 }));
    }
    for (const call of store.callOrder.slice(-MARKS_MAX)) bars.push(s("rect", { class: "call", x: x(call.t), y: 6, width: Math.max(x(call.t1 ?? last) - x(call.t), 2), height: 5 }));
    for (const one of store.decided.slice(-MARKS_MAX)) bars.push(s("rect", { class: `decision ${valueMark(one.value).css}`, x: x(one.t) - 1.5, y: 0, width: 3, height: 20 }));
    for (const one of store.broken.values()) bars.push(s("rect", { class: "broken", x: x(one.t) - 2, y: 0, width: 4, height: 20 }));
    for (const one of this.differences) if (one.t !== null) bars.push(s("path", { class: "difference", d: `M${x(one.t) - 4} 0h8l-4 9Z` }));
    this.marks.replaceChildren(...bars);
  }
}
