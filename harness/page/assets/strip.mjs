// The space-time diagram below the picture, which grows: time runs to the right, and the clients and each node have a lane.
// It ends at the time that is shown. A click goes to that moment. What stands in it is drawn as in the report: see spacetime.js.

import { button, h } from "./dom.js";
import { CanvasPen, drawDecision, drawFault, drawMessage } from "./spacetime.js";
import { after } from "./store.js";

const LANE = 19, LEFT = 62, DRAWN_MAX = 1500, SLOPE = 4;
const WIDTHS = [["0.02 s", 2e4], ["0.2 s", 2e5], ["2 s", 2e6], ["20 s", 2e7], ["200 s", 2e8]];

export class SpaceTimeStrip {
  // `layer` knows the colours of the page; `changed` is called when a click has chosen another moment.
  constructor(parent, controls, store, clock, layer, changed) {
    Object.assign(this, { store, clock, layer });
    this.canvas = h("canvas", { id: "diagram", "aria-hidden": "true", hidden: innerHeight < 760 });
    this.width = clock.tail ? 2e7 : 2e6; // a step of the virtual twin takes longer than a message of real nodes
    const choice = h("select", { "aria-label": "how much time the diagram shows", onchange: () => { this.width = Number(choice.value); this.drawn = ""; } },
      WIDTHS.map(([text, width]) => h("option", { value: width, selected: width === this.width }, text)));
    const toggle = button("diagram", () => {
      this.canvas.hidden = choice.hidden = !this.canvas.hidden;
      toggle.setAttribute("aria-pressed", String(!this.canvas.hidden));
      this.drawn = "";
    }, { id: "show-diagram", "aria-pressed": String(!this.canvas.hidden), title: "the space-time diagram" });
    choice.hidden = this.canvas.hidden;
    controls.append(toggle, choice);
    parent.prepend(this.canvas);
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      clock.show(this.end - this.width * (1 - (event.clientX - box.left - LEFT) / (box.width - LEFT)));
      changed();
    });
    this.drawn = "";
  }

  draw(t, nodes) {
    const key = `${this.store.version} ${t} ${nodes}`;
    if (this.canvas.hidden || key === this.drawn) return;
    this.drawn = key;
    this.end = t;
    this.lanes = new Map([["client", 0], ...nodes.map((node, number) => [node, number + 1])]);
    this.fit();
    this.pen = new CanvasPen(this.context, (css) => this.layer.colour(css));
    for (const name of this.lanes.keys()) {
      this.name(name);
      this.pen.path([[LEFT, this.y(name)], [this.wide, this.y(name)]], "line", 1);
    }
    for (const fault of this.store.faults.values()) if (fault.t <= t && (fault.t1 ?? t) >= t - this.width) drawFault(this.pen, this, fault, fault.t, Math.min(fault.t1 ?? t, t));
    this.drawCalls(t);
    this.drawMessages(t);
    const { decided } = this.store, end = after(decided, t);
    for (const one of decided.slice(after(decided, t - this.width), end)) if (this.lanes.has(one.node)) drawDecision(this.pen, this, one);
  }

  fit() {
    const scale = devicePixelRatio || 1, wide = this.canvas.clientWidth, high = this.lanes.size * LANE + 6;
    if (this.canvas.width !== Math.round(wide * scale) || this.canvas.height !== Math.round(high * scale)) {
      this.canvas.width = Math.round(wide * scale);
      this.canvas.height = Math.round(high * scale);
      this.canvas.style.height = `${high}px`;
    }
    this.wide = wide;
    this.context = this.canvas.getContext("2d");
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.context.clearRect(0, 0, wide, high);
  }

  // --- the geometry ---
  x(t) { return Math.max(LEFT + (1 - (this.end - t) / this.width) * (this.wide - LEFT - 8), LEFT); }
  y(end) { return (this.lanes.get(end) ?? 0) * LANE + LANE / 2 + 3; }
  point(t, end) { return [this.x(t), this.y(end)]; }
  ahead([x, y], px) { return [x + px, y]; }
  band(t0, t1, end) { return [this.x(t0), this.y(end) - 7, this.x(t1) - this.x(t0), 14]; }

  name(end) {
    this.context.font = "600 12px system-ui, sans-serif";
    this.context.fillStyle = this.layer.colour("soft");
    this.context.fillText(end === "client" ? "clients" : end.slice(0, 8), 2, this.y(end) + 4);
  }

  drawCalls(t) {
    for (const call of this.store.callsAt(t, 200)) {
      if ((call.t1 ?? t) < t - this.width) continue;
      const answered = call.t1 !== null && call.t1 <= t && call.outcome === "ok", [x, y] = this.point(call.t, "client");
      this.pen.path([[x, y], [Math.max(this.x(Math.min(call.t1 ?? t, t)), x + 2), y]], answered ? "good" : "open", 7);
    }
  }

  drawMessages(t) {
    const { order, waits } = this.store, begin = after(order, t - this.width), end = after(order, t);
    const every = Math.max(1, Math.ceil((end - begin) / DRAWN_MAX)), { ring } = this.layer;
    const long = waits.filter(({ message, end: until }) => message.t <= t - this.width && until > t - this.width).map(({ message }) => message);
    for (const message of [...long, ...order.slice(begin, end).filter((_, number) => number % every === 0)]) {
      if (ring.shows(message)) drawMessage(this.pen, this, message, ring.marks.of(message).css, { slope: SLOPE, until: t });
    }
  }
}
