// Draws messages on their way, on a canvas above the ring: hundreds of them in each frame, which elements would be too slow for.
//
// A message that waits in the proxy stands in the middle of its curve; one that is lost ends there with a cross. The colours are
// those of the style sheet, read again when the reader's setting changes. Where the ring has the chip of a node, nothing is drawn.

import { h, s, saveSvg } from "./dom.js";
import { valueMark } from "./marks.js";
import { KEPT, LOST } from "./store.js";

const DRAWN_MAX = 330, LABELLED_MAX = 14, TRAILS_MAX = 60, SPRITE = 28;

export class MessageLayer {
  constructor(ring) {
    this.ring = ring;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    ring.svg.after(this.canvas);
    this.pen = this.canvas.getContext("2d");
    this.colours = new Map();
    this.sprites = new Map();
    this.isClear = true;
    this.placed = []; // what the last frame has drawn, and where
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.colours.clear(); this.sprites.clear(); });
    new ResizeObserver(() => this.fit()).observe(this.canvas);
  }

  // Gives the canvas the pixels of the screen, and the coordinates of the ring.
  fit() {
    const scale = devicePixelRatio || 1, box = this.canvas.getBoundingClientRect(), matrix = this.ring.svg.getScreenCTM();
    this.canvas.width = Math.max(box.width * scale, 1);
    this.canvas.height = Math.max(box.height * scale, 1);
    if (matrix) this.pen.setTransform(matrix.a * scale, 0, 0, matrix.d * scale, (matrix.e - box.left) * scale, (matrix.f - box.top) * scale);
  }

  // Draws the messages that move at time `t`. Each takes `flight` microseconds for its way. Returns how many are left out.
  draw(store, t, flight, focus, isStill) {
    const steps = store.stepsBetween(t - flight, t).filter((step) => this.ring.shows(step.message));
    if (!steps.length && !focus) {
      if (!this.isClear) this.clear();
      this.placed = [];
      return 0;
    }
    const every = Math.max(1, Math.ceil(steps.length / DRAWN_MAX));
    const shown = steps.filter((step, number) => number % every === 0 || step.message === focus).map((step) => ({ ...way(step, (t - step.t) / flight), step }));
    if (focus && !shown.some(({ step }) => step.message === focus)) shown.push({ share: 0.55, lost: null, step: { message: focus, fate: focus.fate } });
    this.clear();
    this.isClear = false;
    this.placed = [];
    const labelled = shown.length <= LABELLED_MAX, labels = [];
    for (const one of shown) {
      const { message, fate } = one.step, curve = this.ring.curve(message.from, message.to);
      const [x, y] = this.ring.pointAt(curve, isStill ? (one.lost ? 0.5 : 0.7) : one.share);
      this.placed.push({ x, y, message, lost: one.lost });
      if (shown.length <= TRAILS_MAX) this.trail(curve, this.ring.marks.of(message).css);
      this.pen.drawImage(this.sprite(message, fate, one.lost), x - SPRITE / 2, y - SPRITE / 2, SPRITE, SPRITE);
      if ((labelled && !this.ring.marks.isOfClient(message)) || message === focus) labels.push([x, y, words(message, fate, one.lost)]);
    }
    for (const [x, y, text] of labels) this.label(x, y, text);
    for (const chip of [...this.ring.chips.values()].flat()) this.leaveOut(chip);
    return steps.length - shown.length;
  }

  clear() {
    this.pen.save();
    this.pen.resetTransform();
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.restore();
    this.isClear = true;
  }

  // Clears a chip, with its border and its round ends.
  leaveOut({ x, y, width, height }) {
    const { pen } = this;
    pen.globalCompositeOperation = "destination-out";
    pen.beginPath();
    pen.roundRect(x - 2, y - 2, width + 4, height + 4, height / 2 + 2);
    pen.fill();
    pen.globalCompositeOperation = "source-over";
  }

  trail({ start, control, end }, css) {
    const { pen } = this;
    pen.globalAlpha = 0.35;
    pen.strokeStyle = this.colour(css);
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(...start);
    pen.quadraticCurveTo(...control, ...end);
    pen.stroke();
    pen.globalAlpha = 1;
  }

  // Returns a small canvas with a message's mark. Messages that look alike share it.
  sprite(message, fate, lost) {
    const { css, outline } = this.ring.marks.of(message), value = message.value ? valueMark(message.value).css : "";
    const key = `${css} ${outline} ${value} ${fate === "corrupted" || fate === "duplicated" ? fate : ""} ${lost ? "lost" : ""}`;
    if (!this.sprites.has(key)) this.sprites.set(key, this.drawn(css, outline, value, fate, lost));
    return this.sprites.get(key);
  }

  drawn(css, outline, value, fate, lost) {
    const scale = 2 * (devicePixelRatio || 1), canvas = h("canvas", { width: SPRITE * scale, height: SPRITE * scale });
    const pen = canvas.getContext("2d"), path = new Path2D(outline), colour = this.colour(css);
    pen.setTransform(scale, 0, 0, scale, SPRITE * scale / 2, SPRITE * scale / 2);
    pen.fillStyle = this.colour("panel");
    pen.fill(path);
    pen.globalAlpha = 0.3;
    pen.fillStyle = colour;
    pen.fill(path);
    pen.globalAlpha = 1;
    pen.strokeStyle = fate === "corrupted" ? this.colour("bad") : colour;
    pen.lineWidth = fate === "duplicated" ? 4 : 2.5;
    pen.stroke(path);
    if (value) {
      pen.fillStyle = this.colour(value);
      pen.beginPath();
      pen.arc(0, 0, 4, 0, 7);
      pen.fill();
    }
    if (lost) {
      pen.strokeStyle = this.colour("bad");
      pen.lineWidth = 4;
      pen.beginPath();
      pen.moveTo(-9, -9); pen.lineTo(9, 9); pen.moveTo(9, -9); pen.lineTo(-9, 9);
      pen.stroke();
    }
    return canvas;
  }

  label(x, y, text) {
    const { pen } = this;
    pen.font = "600 14px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.strokeStyle = this.colour("page");
    pen.strokeText(text, x, y - 14);
    pen.fillStyle = this.colour("ink");
    pen.fillText(text, x, y - 14);
  }

  // Lets the browser save the picture as it is now, with the messages on their way, as an SVG file.
  save(name) {
    const marks = this.placed.map(({ x, y, message, lost }) => s("g", { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
      ...this.ring.shape(message), lost ? s("path", { class: "cross", d: "M-9 -9L9 9M9 -9L-9 9" }) : null));
    const group = s("g", {}, ...marks);
    this.ring.layers.nodes.before(group);
    saveSvg(this.ring.svg, name);
    group.remove();
  }

  // Returns the colour of a class such as `t-3` or `v-blue`, or of a variable of the style sheet.
  colour(css) {
    if (!this.colours.has(css)) {
      const probe = document.body.appendChild(h("i", { class: css }));
      const style = getComputedStyle(probe);
      this.colours.set(css, style.getPropertyValue("--v").trim() || style.getPropertyValue(`--${css}`).trim());
      probe.remove();
    }
    return this.colours.get(css);
  }
}

// Returns how far on its way a message is, and whether it is lost there. One that has waited begins in the middle.
function way(step, share) {
  const begin = step.waited && step.fate !== "duplicated" ? 0.5 : 0;
  if (LOST.has(step.fate)) return { share: Math.min(begin + share * 1.6, step.fate === "undeliverable" ? 0.92 : 0.55), lost: step.fate };
  if (KEPT.has(step.fate)) return { share: Math.min(share * 1.5, 0.5), lost: null };
  return { share: begin + (1 - begin) * share, lost: null };
}

function words(message, fate, lost) {
  const before = { duplicated: "copy of ", corrupted: "damaged " }[fate] ?? "";
  return `${before}${message.label}${lost ? `, ${lost}` : ""}`;
}
