// What stands in a space-time diagram: messages with their fates, faults, and decisions. One drawing for both diagrams: the large one
// of a recorded run, in which time runs down (diagram.js), and the strip of the live page, in which it runs to the right.
//
// A diagram gives its geometry as a `frame`:
//   point(t, end)       where a time is on the lane of an end, as [x, y]
//   ahead(point, px)    a point that is later by some pixels
//   band(t0, t1, end)   a rectangle around a part of a lane, as [x, y, width, height]
// and a `pen`, of SVG or of a canvas, which draws `line`, `head`, `cross`, `box`, `dot`, `text` and `band`. `css` names a colour.

import { s } from "./dom.js";
import { valueMark } from "./marks.js";
import { LOST } from "./store.js";

const DELIVERED = new Set(["passed", "released", "duplicated", "corrupted"]);

// Returns how often and when a message was delivered and lost, as far as time `until` shows it, and its last moment.
export function fatesOf(message, until = Infinity) {
  const steps = message.at.filter(([t]) => t <= until);
  return { deliveries: steps.filter(([, fate]) => DELIVERED.has(fate)), losses: steps.filter(([, fate]) => LOST.has(fate)), end: steps.at(-1)?.[0] ?? message.t };
}

// Draws a message. Returns where it ends, as [{ at, kind }], the best place for a label first.
export function drawMessage(pen, frame, message, css, { slope, until = Infinity, weight = 1 }) {
  const { deliveries, losses } = fatesOf(message, until), ends = [], start = frame.point(message.t, message.from);
  const between = (a, b, share) => [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share];
  deliveries.forEach(([t, fate], copy) => {
    const from = frame.ahead(start, copy * 3), to = frame.ahead(frame.point(t, message.to), slope + copy * 3);
    pen.line(from, to, css, { waits: t > message.t, weight: fate === "passed" || fate === "released" ? weight : weight * 1.6 });
    pen.head(from, to, css);
    if (fate === "corrupted") pen.text("!", between(from, to, 0.5), "bad");
    ends.push({ at: to, kind: "delivered" });
  });
  for (const [t] of losses) {
    const to = between(start, frame.ahead(frame.point(t, message.to), slope), 0.62);
    pen.line(start, to, css, { waits: t > message.t, weight });
    pen.cross(to);
    ends.push({ at: to, kind: "lost" });
  }
  if (!ends.length) {
    const to = frame.ahead(between(start, frame.point(message.t, message.to), 0.5), slope);
    pen.line(start, to, css, { waits: true, weight });
    pen.box(to, css);
    ends.push({ at: to, kind: "waits" });
  }
  if (deliveries.length > 1) pen.text(`×${deliveries.length}`, between(start, ends[0].at, 0.5), css);
  pen.dot(start, css);
  return ends;
}

// Draws what a fault does to the nodes: bands on their lanes, and a colour for each side of a cut.
export function drawFault(pen, frame, fault, t0, t1) {
  fault.groups.forEach((group, side) => { for (const node of group) pen.band(`side-${side % 5}`, frame.band(t0, t1, node)); });
  const kind = fault.mark ? "marked" : ["suspend", "starve"].includes(fault.name) ? "frozen" : "dead";
  for (const node of fault.nodes) pen.band(kind, frame.band(t0, t1, node), fault.mark ?? (kind === "frozen" ? "suspended" : fault.name === "kill" ? "killed" : fault.name));
}

// Draws that a node got to know a decision.
export function drawDecision(pen, frame, { t, node, value }) {
  const mark = valueMark(value);
  pen.text(mark.glyph, frame.point(t, node), mark.css);
}

// Draws into an SVG element.
export class SvgPen {
  constructor(parent) { this.parent = parent; }

  add(name, css, attributes, text) { this.parent.append(s(name, { ...attributes, class: css ? `${attributes.class} ${css}` : attributes.class }, text)); }
  line([x1, y1], [x2, y2], css, { waits = false, weight = 1 } = {}) { this.add("line", css, { class: waits ? "arrow waits" : "arrow plain", x1, y1, x2, y2, "stroke-width": 2 * weight }); }
  head(from, to, css) { this.add("path", css, { class: "head", d: headOf(from, to) }); }
  cross([x, y]) { this.add("path", "", { class: "loss", d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` }); }
  box([x, y], css) { this.add("rect", css, { class: "in-proxy", x: x - 5, y: y - 5, width: 10, height: 10 }); }
  dot([cx, cy], css) { this.add("circle", css, { class: "dot", cx, cy, r: 2.6 }); }
  text(text, [x, y], css) { this.add("text", css, { class: "glyph", x, y: y + 5, "text-anchor": "middle" }, text); }
  band(kind, [x, y, width, height], word) {
    const narrow = kind === "marked" ? 4 : width;
    this.add("rect", kind, { class: "lane-band", x, y, width: narrow, height, rx: kind.startsWith("side") ? 0 : 4 });
    for (let at = y + 18; word && at < y + height - 4; at += 260) this.add("text", `${kind}-text`, { class: "band-text", x: x + width / 2 + 6, y: at }, word);
  }
}

// Draws on a canvas. `colour(css)` returns the colour of a class or of a variable of the style sheet.
export class CanvasPen {
  constructor(pen, colour) { Object.assign(this, { pen, colour }); }

  line(from, to, css, { waits = false, weight = 1 } = {}) { this.path([from, to], css, 1.5 * weight, waits ? [4, 3] : []); }
  path(points, css, width, dash = []) {
    const { pen } = this;
    pen.strokeStyle = this.colour(css);
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    points.forEach(([x, y], number) => { if (number) pen.lineTo(x, y); else pen.moveTo(x, y); });
    pen.stroke();
  }
  head(from, to, css) {
    this.pen.fillStyle = this.colour(css);
    this.pen.fill(new Path2D(headOf(from, to, 0.6)));
  }
  cross([x, y]) { this.path([[x - 3, y - 3], [x + 3, y + 3]], "bad", 2); this.path([[x + 3, y - 3], [x - 3, y + 3]], "bad", 2); }
  box([x, y], css) { this.path([[x - 3, y - 3], [x + 3, y - 3], [x + 3, y + 3], [x - 3, y + 3], [x - 3, y - 3]], css, 1.5); }
  dot() {} // a lane of the strip has no room for it
  text(text, [x, y], css) {
    this.pen.font = "700 15px system-ui, sans-serif";
    this.pen.fillStyle = this.colour(css);
    this.pen.fillText(text, x - 5, y + 5);
  }
  band(kind, [x, y, width, height]) {
    const colour = { dead: "down", frozen: "suspended", marked: "soft" }[kind] ?? `c${[0, 1, 2, 3, 5][Number(kind.slice(5))]}`;
    this.pen.globalAlpha = kind.startsWith("side") ? 0.13 : 0.3;
    this.pen.fillStyle = this.colour(colour);
    this.pen.fillRect(x, kind === "marked" ? y + height - 4 : y, width, kind === "marked" ? 4 : height);
    this.pen.globalAlpha = 1;
  }
}

// The outline of an arrow's head.
function headOf([x1, y1], [x2, y2], size = 1) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1, ux = (x2 - x1) / length, uy = (y2 - y1) / length;
  const bx = x2 - ux * 10 * size, by = y2 - uy * 10 * size, wide = 4.6 * size;
  return `M${x2} ${y2}L${bx - uy * wide} ${by + ux * wide}L${bx + uy * wide} ${by - ux * wide}Z`;
}
