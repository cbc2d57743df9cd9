// The space-time diagram below the picture, which grows: time runs to the right, and the clients and each node have a lane.
// It ends at the time that is shown. A click goes to that moment.

import { button, h } from "./dom.mjs";
import { valueMark } from "./marks.mjs";
import { LOST, after } from "./store.mjs";

const LANE = 19, LEFT = 62, DRAWN_MAX = 1500, SLOPE = 4;
const WIDTHS = [["0.02 s", 2e4], ["0.2 s", 2e5], ["2 s", 2e6], ["20 s", 2e7], ["200 s", 2e8]];

export class SpaceTime {
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
    this.drawLanes(nodes, t);
    this.drawFaults(t);
    this.drawCalls(t);
    this.drawMessages(t);
    this.drawDecisions(t);
  }

  fit() {
    const scale = devicePixelRatio || 1, wide = this.canvas.clientWidth, high = this.lanes.size * LANE + 6;
    if (this.canvas.width !== Math.round(wide * scale) || this.canvas.height !== Math.round(high * scale)) {
      this.canvas.width = Math.round(wide * scale);
      this.canvas.height = Math.round(high * scale);
      this.canvas.style.height = `${high}px`;
    }
    this.wide = wide;
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.pen.clearRect(0, 0, wide, high);
  }

  x(t) { return LEFT + (1 - (this.end - t) / this.width) * (this.wide - LEFT - 8); }
  y(end) { return this.lanes.get(end) * LANE + LANE / 2 + 3; }

  line(x1, y1, x2, y2, colour, width = 1.5, dash = []) {
    const { pen } = this;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
    pen.stroke();
  }

  text(text, x, y, colour, font = "12px") {
    this.pen.font = `${font} system-ui, sans-serif`;
    this.pen.fillStyle = colour;
    this.pen.fillText(text, x, y);
  }

  drawLanes(nodes) {
    for (const [name, number] of this.lanes) {
      this.text(name === "client" ? "clients" : name.slice(0, 8), 2, number * LANE + LANE / 2 + 7, this.layer.colour("soft"), "600 12px");
      this.line(LEFT, this.y(name), this.wide, this.y(name), this.layer.colour("line"), 1);
    }
  }

  drawFaults(t) {
    for (const fault of this.store.faults.values()) {
      if (fault.t > t || (fault.t1 ?? t) < t - this.width) continue;
      const x1 = Math.max(this.x(fault.t), LEFT), x2 = this.x(Math.min(fault.t1 ?? t, t));
      this.pen.globalAlpha = 0.3;
      this.pen.fillStyle = this.layer.colour(fault.mark ? "soft" : fault.nodes.length ? "down" : "cut");
      const high = fault.mark ? 4 : 14; // a node whose process goes on has a thin line below its own
      if (fault.nodes.length) for (const node of fault.nodes) { if (this.lanes.has(node)) this.pen.fillRect(x1, this.y(node) + (fault.mark ? 2 : -7), x2 - x1, high); }
      else this.pen.fillRect(x1, 0, x2 - x1, 4);
      this.pen.globalAlpha = 1;
    }
  }

  drawCalls(t) {
    for (const call of this.store.callsAt(t, 200)) {
      if ((call.t1 ?? t) < t - this.width) continue;
      const answered = call.t1 !== null && call.t1 <= t && call.outcome === "ok";
      const x1 = Math.max(this.x(call.t), LEFT), x2 = this.x(Math.min(call.t1 ?? t, t));
      this.line(x1, this.y("client"), Math.max(x2, x1 + 2), this.y("client"), this.layer.colour(answered ? "good" : "open"), 7);
    }
  }

  drawMessages(t) {
    const { store } = this, begin = after(store.steps, t - this.width), end = after(store.steps, t);
    const every = Math.max(1, Math.ceil((end - begin) / DRAWN_MAX));
    for (let number = begin; number < end; number += every) {
      const { message, fate, t: at, arrives } = store.steps[number];
      if (!this.layer.ring.shows(message)) continue;
      const y1 = this.y(message.from), y2 = this.y(message.to), colour = this.layer.colour(this.layer.ring.marks.of(message).css);
      const x1 = Math.max(this.x(arrives ? at : message.t), LEFT) - (arrives ? SLOPE : 0), x2 = this.x(at) + SLOPE;
      const share = LOST.has(fate) ? 0.5 : ["held", "delayed", "reordered"].includes(fate) ? 0.3 : 1;
      const xEnd = x1 + (x2 - x1) * share, yEnd = y1 + (y2 - y1) * share;
      this.line(x1, y1, xEnd, yEnd, colour, 1.5, arrives ? [] : [4, 3]);
      if (LOST.has(fate)) {
        this.line(xEnd - 3, yEnd - 3, xEnd + 3, yEnd + 3, this.layer.colour("bad"), 2);
        this.line(xEnd + 3, yEnd - 3, xEnd - 3, yEnd + 3, this.layer.colour("bad"), 2);
      }
    }
  }

  drawDecisions(t) {
    const { decided } = this.store, end = after(decided, t);
    for (let number = after(decided, t - this.width); number < end; number++) {
      const { node, value, t: at } = decided[number];
      if (!this.lanes.has(node)) continue;
      const mark = valueMark(value);
      this.text(mark.glyph, this.x(at) - 5, this.y(node) + 5, this.layer.colour(mark.css), "700 15px");
    }
  }
}
