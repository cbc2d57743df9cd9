// Draws the cluster: nodes on a ring, the clients beside it, and walls where links are cut.
//
// Theory of operation
// A picture is plain data, whether it comes from a record or from a cluster that runs: see picture.js. A node, the walls and the
// messages that are held are each drawn anew when something about them has changed. Messages on their way are drawn above them in
// each frame: see messages.js. A message moves along a curve, so that both directions of a link can be seen, and below the chips of
// the nodes, so that what a node says can be read.

import { h, s } from "./dom.js";
import { valueMark } from "./marks.js";
import { sentAgain } from "./picture.js";

const WIDTH = 1000, HEIGHT = 600, CENTRE = [612, 292], RADII = [318, 218], NODE = 47, CLIENT_AT = [80, 250];
const HELD_MAX = 5, CHIP_PITCH = 25, CHIP = { top: NODE - 6, height: 24 }, TWO_CHIPS = { top: NODE - 10, height: 22 };
const CALLS = "of clients";
const STATES = { up: "up", suspended: "suspended", down: "down", new: "booting" };

export class Ring {
  // `on` has the functions `node(name)`, `link(from, to)`, `held(message)` and `knife(links, oneWay)`, which clicks call; null for
  // a picture that is only looked at, which then has itself in words as its label.
  constructor(parent, marks, on, isReadOnly) {
    this.marks = marks;
    this.on = on;
    this.places = new Map();
    this.layers = {};
    this.svg = s("svg", { class: "ring", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: on ? "group" : "img", "aria-label": "Nodes, links and messages" });
    for (const name of ["links", "walls", "nodes", "held", "knife"]) {
      this.layers[name] = this.svg.appendChild(s("g", { class: name }));
    }
    this.hidden = new Set(); // types of messages
    this.selected = null;
    this.drawn = new Map(); // by part: what it shows now
    this.groups = new Map(); // by node: its element
    this.chips = new Map(); // by node: the boxes of its chips, as { x, y, width, height }
    this.curves = new Map(); // by both ends: the way of a message
    this.heldBoxes = []; // where messages that are held are drawn, with how often they were sent
    parent.append(this.svg);
    if (!isReadOnly) this.listenForKnife();
  }

  layOut(nodes) {
    this.names = nodes;
    this.drawn.clear();
    this.groups.clear();
    this.chips.clear();
    this.curves.clear();
    this.layers.nodes.replaceChildren();
    this.places = new Map([["client", CLIENT_AT]]);
    nodes.forEach((node, number) => {
      const angle = -Math.PI / 2 + 2 * Math.PI * number / nodes.length;
      this.places.set(node, [CENTRE[0] + RADII[0] * Math.cos(angle), CENTRE[1] + RADII[1] * Math.sin(angle)]);
    });
    this.drawLinks();
  }

  // Returns the control point of the curve from one end to the other, and the ends at the rims.
  curve(from, to) {
    const link = `${from} ${to}`;
    if (!this.curves.has(link)) this.curves.set(link, this.curveOf(from, to));
    return this.curves.get(link);
  }

  curveOf(from, to) {
    const [x1, y1] = this.places.get(from) ?? CENTRE, [x2, y2] = this.places.get(to) ?? CENTRE;
    const dx = x2 - x1, dy = y2 - y1, length = Math.hypot(dx, dy) || 1;
    const bend = Math.min(26, length * 0.09);
    const ux = dx / length, uy = dy / length;
    const start = [x1 + ux * NODE, y1 + uy * NODE], end = [x2 - ux * NODE, y2 - uy * NODE];
    return { start, end, control: [(x1 + x2) / 2 - uy * bend * 2, (y1 + y2) / 2 + ux * bend * 2] };
  }

  pointAt({ start, end, control }, share) {
    const rest = 1 - share;
    return [0, 1].map((axis) => rest * rest * start[axis] + 2 * rest * share * control[axis] + share * share * end[axis]);
  }

  drawLinks() {
    const lines = [];
    this.links = new Map(); // by both ends, in the order of their names
    for (const [number, one] of this.names.entries()) for (const other of this.names.slice(number + 1)) {
      const [x1, y1] = this.places.get(one), [x2, y2] = this.places.get(other), line = s("line", { class: "link", x1, y1, x2, y2 });
      this.links.set([one, other].sort().join(" "), line);
      lines.push(line);
      if (this.on) lines.push(s("line", { class: "link-hit", x1, y1, x2, y2, onclick: () => this.on.link(one, other) },
        s("title", {}, `the link between ${one} and ${other}`)));
    }
    const [x, y] = CLIENT_AT;
    for (const node of this.names) {
      const [x2, y2] = this.places.get(node);
      lines.push(s("line", { class: "link client", x1: x, y1: y, x2, y2 }));
    }
    lines.push(s("rect", { class: "client-box", x: x - 46, y: y - 24, width: 92, height: 48, rx: 10 }));
    lines.push(s("text", { class: "client-name", x, y: y + 6 }, "clients"));
    this.layers.links.replaceChildren(...lines);
  }

  // Draws nodes, walls and held messages as they are in `picture`: { nodes, cuts, slow, held, pending }.
  draw(picture) {
    this.changed("links", [picture.cuts, picture.slow], () => this.drawWalls(picture));
    for (const node of picture.nodes) this.changed(`node ${node.name}`, [node, picture.pending?.[node.name], this.selected === node.name], () => this.drawNode(node, picture.pending ?? {}));
    this.changed("held", [picture.held, ...this.hidden], () => this.drawHeld(picture.held));
    if (!this.on) this.svg.setAttribute("aria-label", describe(picture));
  }

  // Draws a part if its data are not those that it was drawn from.
  changed(part, data, draw) {
    const key = JSON.stringify(data);
    if (this.drawn.get(part) === key) return;
    this.drawn.set(part, key);
    draw();
  }

  // --- nodes ------------------------------------------------------------------------------------------------------------

  // A node keeps its element, so that a press of the mouse during a change is a click, and the focus stays.
  drawNode(node, pending) {
    const facts = node.facts ?? {}, [x, y] = this.places.get(node.name), label = inWords(node);
    const state = pending[node.name] ?? (node.state === "down" && node.refused ? "refused" : STATES[node.state] ?? node.state);
    if (!this.groups.has(node.name)) this.groups.set(node.name, this.layers.nodes.appendChild(this.groupOf(node.name)));
    const group = this.groups.get(node.name);
    set(group, { class: `node ${state} ${facts.leads ? "leads" : ""} ${this.selected === node.name ? "selected" : ""}`, transform: `translate(${x} ${y})`,
      "aria-label": label, "data-state": state, "data-decided": facts.decided, "data-vote": facts.vote, "data-role": facts.role });
    group.firstChild.replaceChildren(...this.drawnNode(node, facts, state));
    group.lastChild.firstChild.textContent = label;
  }

  groupOf(name) {
    const choose = this.on && (() => this.on.node(name));
    return s("g", { role: choose ? "button" : null, tabindex: choose ? 0 : null, "data-node": name, onclick: choose,
      onkeydown: choose && ((event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } }) },
    s("g", { class: "drawn" }), s("circle", { class: "hit", r: NODE + 9 }, s("title")));
  }

  drawnNode(node, facts, state) {
    const group = s("g");
    if (facts.leads) group.append(s("circle", { class: "halo", r: NODE + 7 }));
    group.append(s("circle", { class: "rim", r: NODE }));
    group.append(s("text", { class: "name", y: state === "up" ? -12 : -14 }, node.name.length > 9 ? `${node.name.slice(0, 8)}…` : node.name));
    const lines = state === "up" ? [facts.leads ? `★ ${facts.role}` : facts.role ?? (node.answers ? "" : "no answer"), node.ballot ? `b ${node.ballot}` : ""]
      : state === "down" ? downLines(node.how)
      : [{ suspended: "suspended", booting: "… booting", refused: "✕ refused" }[state] ?? `… ${state}`];
    lines.filter(Boolean).forEach((text, number) => group.append(s("text", { class: "fact", y: 6 + number * 16 }, text)));
    if (node.marks.length) group.append(s("text", { class: "mark", y: -NODE - 11 }, node.marks.join(", ")));
    this.chip(group, node, facts);
    if (facts.votes && !facts.decided) {
      const counts = new Map();
      for (const vote of Object.values(facts.votes)) counts.set(vote, (counts.get(vote) ?? 0) + 1);
      group.append(s("text", { class: "tally", y: 22 }, [...counts].map(([vote, count]) => `${valueMark(vote).glyph}${count}`).join(" ")));
    }
    return [...group.childNodes];
  }

  // The chip below a node: the decided value, the vote, or how far a log has come. A node that answers another decision than its own
  // has two: what it answers, and what is on its disk.
  chip(group, node, facts) {
    const chips = [], isOnDisk = node.kept || Boolean(node.told);
    if (node.told) chips.push({ ...valueMark(node.told), is: "decided", word: "answers" });
    if (facts.applied !== undefined) chips.push({ css: "quiet", text: `slot ${facts.applied}${facts.commit > facts.applied ? ` of ${facts.commit}` : ""}` });
    else if (facts.decided) chips.push({ ...valueMark(facts.decided), is: "decided", word: "✓", isOnDisk });
    else if (facts.vote) chips.push({ ...valueMark(facts.vote), is: "vote", word: "vote", isOnDisk });
    else if (node.accepted) chips.push({ ...valueMark(node.accepted), is: "accepted", word: "accepted", isOnDisk });
    const [left, top] = this.places.get(node.name), { top: first, height } = chips.length > 1 ? TWO_CHIPS : CHIP;
    this.chips.set(node.name, chips.map((one, number) => {
      const text = one.text ?? `${one.isOnDisk ? "disk: " : ""}${one.word} ${one.glyph} ${one.name}`, kind = `${one.is ?? ""} ${one.isOnDisk ? "on-disk" : ""}`;
      const width = Math.min(text.length * 8.2 + 16, 190), x = -width / 2, y = first + number * CHIP_PITCH;
      group.append(s("rect", { class: `chip ${one.css} ${kind}`, x, y, width, height, rx: height / 2 }));
      group.append(s("text", { class: `chip-text ${kind}`, y: y + height / 2 + 5 }, text.length > 22 ? `${text.slice(0, 21)}…` : text));
      return { x: left + x, y: top + y, width, height };
    }));
  }

  chipBoxes() { return [...this.chips.values()].flat(); }
  discs() { return this.names.map((name) => ({ x: this.places.get(name)[0], y: this.places.get(name)[1], r: NODE - 2 })); }

  // --- walls --------------------------------------------------------------------------------------------------------------

  drawWalls({ cuts, slow }) {
    const isSlow = new Set(slow.map((link) => link.split(" ").sort().join(" "))), walls = [];
    for (const [link, line] of this.links) line.classList.toggle("slow", isSlow.has(link));
    for (const cut of cuts) {
      const [from, to] = cut.split(" ");
      if (!this.places.has(from) || !this.places.has(to)) continue;
      const both = cuts.includes(`${to} ${from}`);
      if (both && from > to) continue;
      const [x1, y1] = this.places.get(from), [x2, y2] = this.places.get(to);
      const angle = Math.atan2(y2 - y1, x2 - x1) * 180 / Math.PI;
      const [x, y] = both ? [(x1 + x2) / 2, (y1 + y2) / 2] : this.pointAt(this.curve(from, to), 0.5);
      walls.push(s("g", { class: `wall ${both ? "" : "one-way"}`, transform: `translate(${x} ${y}) rotate(${angle})`, "data-cut": cut },
        s("title", {}, both ? `${from} and ${to} are cut from each other` : `nothing passes from ${from} to ${to}`),
        s("rect", { x: -5, y: -17, width: 10, height: 34, rx: 2 }), s("path", { d: "M-5 -6L5 -12M-5 5L5 -1M-5 16L5 10" }),
        both ? null : s("path", { class: "way", d: "M-22 0H-8M-13 -5L-8 0L-13 5" })));
    }
    this.layers.walls.replaceChildren(...walls);
  }

  // --- messages that are held ---------------------------------------------------------------------------------------------

  drawHeld(held) {
    const links = new Map();
    for (const again of sentAgain(held.filter((one) => this.shows(one)))) {
      const link = `${again[0].from} ${again[0].to}`;
      if (!links.has(link)) links.set(link, []);
      links.get(link).push(again);
    }
    const drawn = [];
    this.heldBoxes = [];
    for (const groups of links.values()) {
      const curve = this.curve(groups[0][0].from, groups[0][0].to);
      groups.slice(0, HELD_MAX).forEach((again, number) => {
        const [message] = again, [x, y] = this.pointAt(curve, 0.56 - number * 0.075), often = again.length > 1 ? `, sent ${again.length} times` : "";
        const group = s("g", { class: "held-one", transform: `translate(${x} ${y})`, onclick: this.on && (() => this.on.held(message)) },
          s("title", {}, `held: ${message.label}, ${message.from} to ${message.to}${often}.${this.on ? ` Click to deliver${often && " one"}` : ""}`),
          s("circle", { class: "hold-rim", r: 14 }), ...this.shape(message, 0.95), often ? s("text", { class: "more", y: -17 }, `×${again.length}`) : null);
        this.heldBoxes.push({ x: x - 16, y: y - 30, width: 32, height: 46 });
        drawn.push(group);
      });
      if (groups.length > HELD_MAX) {
        const [x, y] = this.pointAt(curve, 0.56 - HELD_MAX * 0.075);
        drawn.push(s("text", { class: "more", x, y }, `+${groups.slice(HELD_MAX).flat().length}`));
      }
    }
    this.layers.held.replaceChildren(...drawn);
  }

  shape(message, size = 1) {
    const mark = this.marks.of(message), value = message.value ? valueMark(message.value) : null;
    return [s("path", { class: `type ${mark.css}`, d: mark.outline, transform: `scale(${size})` }),
      value ? s("circle", { class: `core ${value.css}`, r: 4 * size }) : null].filter(Boolean);
  }

  shows(message) {
    return this.places.has(message.from) && this.places.has(message.to) && !this.hidden.has(this.marks.isOfClient(message) ? CALLS : message.type);
  }

  // --- the knife: a line drawn with the mouse cuts the links that it crosses ----------------------------------------------

  listenForKnife() {
    let begin = null, line = null;
    const at = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
      return [point.x, point.y];
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && !event.target.closest(".node, .held-one")) begin = at(event);
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!begin) return;
      const [x, y] = at(event);
      if (!line && Math.hypot(x - begin[0], y - begin[1]) < 12) return;
      if (!line) {
        line = this.layers.knife.appendChild(s("line", { class: "knife", x1: begin[0], y1: begin[1] }));
        this.svg.setPointerCapture(event.pointerId);
      }
      line.setAttribute("x2", x);
      line.setAttribute("y2", y);
      this.mark(this.crossed(begin, [x, y]));
    });
    const end = (event) => {
      if (line) {
        const links = this.crossed(begin, at(event));
        line.remove();
        this.mark([]);
        if (links.length && event.type === "pointerup") this.on.knife(links, event.shiftKey);
      }
      begin = line = null;
    };
    this.svg.addEventListener("pointerup", end);
    this.svg.addEventListener("pointercancel", end);
  }

  crossed(a, b) {
    const side = (p, q, r) => Math.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
    const links = [];
    for (const [number, one] of this.names.entries()) for (const other of this.names.slice(number + 1)) {
      const c = this.places.get(one), d = this.places.get(other);
      if (side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b)) links.push(side(a, b, c) > 0 ? [one, other] : [other, one]);
    }
    return links;
  }

  mark(links) {
    const marked = new Set(links.map((link) => [...link].sort().join(" ")));
    for (const [link, line] of this.links) line.classList.toggle("marked", marked.has(link));
  }
}

// Sets attributes, and removes those that have no value.
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) element.removeAttribute(name); else element.setAttribute(name, value);
  }
}

// A node in words.
function inWords({ name, state, how, facts, marks, ballot, accepted, kept, told }) {
  const known = facts.decided ? `decided ${facts.decided}` : facts.vote ? `voted ${facts.vote}` : accepted ? `accepted ${accepted}` : facts.applied !== undefined ? `slot ${facts.applied}` : "";
  return [`${name}: ${state === "up" ? "up" : how}`, facts.role, ...marks ?? [], ballot && `ballot ${ballot}`, known && kept ? `${known} on its disk, as it last said` : known, told && `answers ${told}`].filter(Boolean).join(", ");
}

// The picture in words, for those who do not see it.
export function describe({ nodes, cuts }) {
  const cut = cuts.slice(0, 12).map((link) => link.replace(" ", " to ")).join(", ");
  return `${nodes.map(inWords).join("; ")}.${cuts.length ? ` Cut: ${cut}${cuts.length > 12 ? " and more" : ""}.` : ""}`;
}

// How a node has ended, in two lines that fit into its circle. The label, and the panel of the node, have it in full.
function downLines(how) {
  const words = how.replace(/^down: /, "").replace(/^the cluster has/, "cluster").replace("killed by SIGKILL", "killed").split(/[;:,]/)[0].split(" ");
  const rest = words.slice(1).join(" ");
  return [`✕ ${words[0]}`, rest.length > 12 ? `${rest.slice(0, 11)}…` : rest];
}

// The legend: a shape and a name for each type of message that was seen. A click hides or shows the messages of a type.
export class Legend {
  constructor(parent, marks, hidden) {
    Object.assign(this, { parent, marks, hidden });
    this.seen = new Set();
  }

  add(messages) {
    for (const message of messages) {
      const type = this.marks.isOfClient(message) ? CALLS : message.type;
      if (this.seen.has(type) || this.seen.size > 40) continue;
      this.seen.add(type);
      this.marks.of(message); // which learns a type that was not known before it came
      const made = h("button", { type: "button", "aria-pressed": "true", title: "hide or show these messages", onclick: () => {
        if (!this.hidden.delete(type)) this.hidden.add(type);
        made.setAttribute("aria-pressed", String(!this.hidden.has(type)));
      } }, this.marks.icon(type), type);
      this.parent.append(made);
    }
  }
}
