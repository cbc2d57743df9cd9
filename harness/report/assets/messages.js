// Draws messages on their way, on a canvas above the ring: hundreds of them in each frame, which elements would be too slow for.
//
// Rules
// 1. A message that waits in the proxy stands in the middle of its curve; one that is lost ends there with a cross. The colours are
//    those of the style sheet, read again when the reader's setting changes.
// 2. In a crowd, equal messages that would cover each other are drawn as one: of those of a link that look alike, one in each part
//    of the way that a mark is long. So a busy cluster costs the browser little more than a calm one.
// 3. No label covers another one, a message that is held, or what a node says: a label finds a free place beside its message, or is left
//    out. Messages that are lost at one node share a label, and so do equal ones near each other. Where the ring has a node, or the
//    chip of one, nothing is drawn.

import { h, s, saveSvg } from "./dom.js";
import { valueMark } from "./marks.js";
import { KEPT, LOST } from "./store.js";

const DRAWN_MAX = 330, LABELLED_MAX = 14, TRAILS_MAX = 60, SPRITE = 28;
// From how many messages on it is a crowd, and in how many parts the way of a link is divided then.
const CROWD = 60, PARTS = 11;
const FONT = "600 14px system-ui, sans-serif", LABEL_HEIGHT = 18, NEAR = 110;

export class MessageLayer {
  constructor(ring) {
    this.ring = ring;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    ring.svg.after(this.canvas);
    this.pen = this.canvas.getContext("2d");
    this.colours = new Map();
    this.sprites = new Map();
    this.isClear = true;
    this.pixels = SPRITE; // how large a mark is on the screen
    this.placed = []; // what the last frame has drawn, and where
    this.labels = [];
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.colours.clear(); this.sprites.clear(); });
    new ResizeObserver(() => this.fit()).observe(this.canvas);
  }

  // Gives the canvas the pixels of the screen, and the coordinates of the ring.
  fit() {
    const scale = devicePixelRatio || 1, box = this.canvas.getBoundingClientRect(), matrix = this.ring.svg.getScreenCTM();
    this.canvas.width = Math.max(box.width * scale, 1);
    this.canvas.height = Math.max(box.height * scale, 1);
    this.pixels = Math.max(Math.round(SPRITE * scale * (matrix?.a ?? 1)), 1);
    this.sprites.clear();
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
    const apart = steps.length > CROWD ? this.apart(steps, flight / PARTS, focus) : steps, every = Math.max(1, Math.ceil(apart.length / DRAWN_MAX));
    const shown = (every === 1 ? apart : apart.filter((step, number) => number % every === 0 || step.message === focus)).map((step) => ({ ...way(step, (t - step.t) / flight), step }));
    if (focus && !shown.some(({ step }) => step.message === focus)) shown.push({ share: 0.55, lost: null, step: { message: focus, fate: focus.fate } });
    this.clear();
    this.isClear = false;
    this.placed = shown.map(({ share, lost, step: { message, fate } }) => {
      const curve = this.ring.curve(message.from, message.to), [x, y] = this.ring.pointAt(curve, isStill ? (lost ? 0.5 : 0.7) : share);
      return { x, y, message, fate, lost, curve };
    });
    if (shown.length <= TRAILS_MAX) for (const { curve, message } of this.placed) this.trail(curve, this.ring.marks.of(message).css);
    this.drawMarks();
    const isLabelled = ({ message }) => (shown.length <= LABELLED_MAX && !this.ring.marks.isOfClient(message)) || message === focus;
    this.labels = this.placeLabels(this.placed.filter(isLabelled), focus);
    for (const label of this.labels) this.label(label);
    this.leaveOut();
    return apart.length - shown.length;
  }

  // Returns of these steps those that are drawn in a crowd: one of those that look alike on a link in each `gap` of time.
  apart(steps, gap, focus) {
    const last = new Map();
    return steps.filter((step) => {
      const { message } = step, part = Math.floor(step.t / gap), alike = `${message.alike ??= `${message.from} ${message.to} ${message.type} ${message.value}`} ${step.fate}`;
      if (last.get(alike) === part && message !== focus) return false;
      last.set(alike, part);
      return true;
    });
  }

  // Draws the marks, in pixels of the screen: a mark that is as large as it is drawn, at a whole pixel, is copied and not scaled.
  drawMarks() {
    const { pen } = this, { a, d, e, f } = pen.getTransform(), half = this.pixels / 2;
    pen.save();
    pen.resetTransform();
    for (const { x, y, message, fate, lost } of this.placed) pen.drawImage(this.sprite(message, fate, lost), Math.round(x * a + e - half), Math.round(y * d + f - half));
    pen.restore();
  }

  clear() {
    this.pen.save();
    this.pen.resetTransform();
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.restore();
    this.isClear = true;
  }

  // Clears the nodes, and their chips with their borders and round ends.
  leaveOut() {
    const { pen } = this;
    pen.globalCompositeOperation = "destination-out";
    pen.beginPath();
    for (const { x, y, width, height } of this.ring.chipBoxes()) pen.roundRect(x - 2, y - 2, width + 4, height + 4, height / 2 + 2);
    for (const { x, y, r } of this.ring.discs()) { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 7); }
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

  // Returns a picture of a message's mark. Messages that look alike share it.
  sprite(message, fate, lost) {
    const value = message.value ? valueMark(message.value).css : "", { css, outline } = this.ring.marks.of(message);
    const key = `${css} ${value} ${fate === "corrupted" || fate === "duplicated" ? fate : ""} ${lost ? "lost" : ""}`;
    if (!this.sprites.has(outline)) this.sprites.set(outline, new Map());
    const ofOutline = this.sprites.get(outline);
    if (!ofOutline.has(key)) ofOutline.set(key, this.drawn(css, outline, value, fate, lost));
    return ofOutline.get(key);
  }

  drawn(css, outline, value, fate, lost) {
    const { pixels } = this, scale = pixels / SPRITE, canvas = new OffscreenCanvas(pixels, pixels);
    const pen = canvas.getContext("2d"), path = new Path2D(outline), colour = this.colour(css);
    pen.setTransform(scale, 0, 0, scale, pixels / 2, pixels / 2);
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
    return canvas.transferToImageBitmap();
  }

  // Returns where labels stand, as { x, y, width, height, text, of }: above the message if nothing is there, else below, right or left
  // of it. What is lost at one node has one label, with how often it was.
  placeLabels(messages, focus) {
    const groups = new Map();
    for (const one of messages) {
      const text = words(one), key = one.lost ? `${text} ${one.message.to}` : one;
      if (!groups.has(key)) groups.set(key, { text, ones: [] });
      groups.get(key).ones.push(one);
    }
    const taken = [...this.ring.chipBoxes(), ...this.ring.heldBoxes], found = [];
    this.pen.font = FONT;
    for (const { text: alone, ones } of groups.values()) {
      const { x, y } = ones[0];
      if (!ones[0].lost && found.some((other) => other.text === alone && Math.hypot(other.of.x - x, other.of.y - y) < NEAR)) continue;
      const text = ones.length > 1 ? `${ones.length} × ${alone}` : alone, width = this.pen.measureText(text).width + 4;
      const places = ones.flatMap((one) => placesBeside(one, width).map((box, side) => ({ ...box, one, side })));
      places.sort((one, other) => (other.one.message.side === other.side) - (one.one.message.side === one.side)); // where it stood before
      const place = places.find((box) => !taken.some((other) => overlap(box, other))) ?? (ones.some(({ message }) => message === focus) ? places[0] : null);
      if (!place) continue;
      place.one.message.side = place.side;
      taken.push(place);
      found.push({ x: place.x, y: place.y, width, height: LABEL_HEIGHT, text, of: ones[0] });
    }
    return found;
  }

  label({ x, y, width, text }) {
    const { pen } = this, at = [text, x + width / 2, y + LABEL_HEIGHT - 4];
    pen.font = FONT;
    pen.textAlign = "center";
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.strokeStyle = this.colour("page");
    pen.strokeText(...at);
    pen.fillStyle = this.colour("ink");
    pen.fillText(...at);
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

// The places for a label beside a message: above, below, right, left.
function placesBeside({ x, y }, width) {
  const high = LABEL_HEIGHT;
  return [[x - width / 2, y - 10 - high], [x - width / 2, y + 10], [x + 13, y - high / 2], [x - 13 - width, y - high / 2]].map(([left, top]) => ({ x: left, y: top, width, height: high }));
}

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

function words({ message, fate, lost }) {
  const before = { duplicated: "copy of ", corrupted: "damaged " }[fate] ?? "";
  return `${before}${message.label}${lost ? `, ${lost}` : ""}`;
}
