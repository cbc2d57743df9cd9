// Draws a cluster at one moment: nodes on a ring, walls where links are cut, and messages on their way.
//
// A picture is plain data, whether it comes from a record or from a cluster that runs:
//   nodes:   [{ id, state, why, role, ballot, holds, decided, log, doing }]
//            state: "up", "suspended", "down", "booting" or "refused"; why: "killed", ...; role: a word, or "" for unknown
//            holds, decided: { text, colour } or null: what it has voted for or accepted, and what it knows as decided
//            colour: a class of the style sheet (`v-blue`, `v-3`) or null; ballot, log, doing: text or ""
//   cuts:    [[from, to]], directed;   slow: [[from, to]], links that lose or delay messages
//   packets: [{ from, to, share, text, fate, colour, count }]; from or to may be "client"; share: 0 (sent) to 1 (arrived)
//            fate: "moving", "lost", "waiting" or "copy"; colour: a CSS colour
// Rules
// 1. A value has a shape beside its colour, a state has a word beside its colour: nobody needs to tell colours apart.
// 2. The drawing holds 1 to 16 nodes. Texts that are too long for their place are cut, and the element's title has them whole.
import { cut, html, line, make } from "./svg.js";

const WIDTH = 760, HEIGHT = 530, NODE_R = 27, TEXT_MAX = 20;
const STATE_WORDS = { suspended: "suspended", down: "down", booting: "booting", refused: "refuses to boot" };
const SHAPES = ["circle", "square", "triangle", "diamond", "hexagon", "cross", "star", "bar"];
const NAMED = ["v-blue", "v-red", "v-green", "v-yellow", "v-orange", "v-purple", "v-pink", "v-brown"];

// The shape of a value, by the class of its colour.
export function shapeOf(colour) {
  const place = NAMED.indexOf(colour);
  return SHAPES[(place >= 0 ? place : Number(/\d+$/.exec(colour || "")?.[0] ?? 7)) % SHAPES.length];
}

function outline(shape, x, y, r) {
  const corners = (count, turn, inner) => Array.from({ length: count * (inner ? 2 : 1) }, (_, i) => {
    const angle = turn + 2 * Math.PI * i / (count * (inner ? 2 : 1)), far = inner && i % 2 ? r * inner : r;
    return `${i ? "L" : "M"}${(x + far * Math.sin(angle)).toFixed(1)} ${(y - far * Math.cos(angle)).toFixed(1)}`;
  }).join("") + "Z";
  switch (shape) {
    case "circle": return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
    case "square": return `M${x - r * 0.9} ${y - r * 0.9}h${r * 1.8}v${r * 1.8}h${-r * 1.8}Z`;
    case "triangle": return corners(3, 0);
    case "diamond": return corners(4, 0);
    case "hexagon": return corners(6, Math.PI / 6);
    case "cross": return `M${x - r} ${y - r * 0.35}h${r * 0.65}v${-r * 0.65}h${r * 0.7}v${r * 0.65}h${r * 0.65}v${r * 0.7}h${-r * 0.65}v${r * 0.65}h${-r * 0.7}v${-r * 0.65}h${-r * 0.65}Z`;
    case "star": return corners(5, 0, 0.45);
    default: return `M${x - r} ${y - r * 0.45}h${2 * r}v${r * 0.9}h${-2 * r}Z`;
  }
}

// Draws a value's shape: filled if it is decided, hollow if the node only holds it.
export function drawShape(parent, value, x, y, r, isDecided) {
  return make("path", { class: `shape ${value.colour || "v-none"} ${isDecided ? "decided" : "held"}`, d: outline(shapeOf(value.colour), x, y, r) }, parent);
}

// Returns the place of each end of a link: nodes on a ring, the first on top, and the clients in the middle.
export function places(ids) {
  const found = new Map([["client", { x: WIDTH / 2, y: HEIGHT / 2 - 8 }]]);
  const wide = WIDTH / 2 - 110, high = HEIGHT / 2 - 88;
  ids.forEach((id, i) => {
    const angle = 2 * Math.PI * i / Math.max(ids.length, 1);
    found.set(id, { x: WIDTH / 2 + wide * Math.sin(angle), y: HEIGHT / 2 - 20 - high * Math.cos(angle) });
  });
  return found;
}

const along = (a, b, share) => ({ x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * share });

// Draws the picture into an <svg>, in place of what it held. `onNode(id, element)` is called with each node's group.
export function drawRing(svg, picture, onNode) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", describe(picture));
  svg.replaceChildren();
  const at = places(picture.nodes.map((node) => node.id));
  drawLinks(svg, picture, at);
  const client = at.get("client");
  make("rect", { class: "clients", x: client.x - 36, y: client.y - 14, width: 72, height: 28, rx: 6 }, svg);
  make("text", { class: "clients-text", x: client.x, y: client.y + 5, "text-anchor": "middle" }, svg, "clients");
  for (const packet of picture.packets) drawPacket(svg, packet, at);
  for (const node of picture.nodes) {
    const group = drawNode(svg, node, at.get(node.id));
    if (onNode) onNode(node.id, group);
  }
}

function drawLinks(svg, picture, at) {
  const key = (from, to) => `${from}>${to}`;
  const cuts = new Set(picture.cuts.map(([from, to]) => key(from, to)));
  const slow = new Set((picture.slow || []).map(([from, to]) => key(from, to)));
  const ids = picture.nodes.map((node) => node.id);
  ids.forEach((one, i) => ids.slice(i + 1).forEach((other) => {
    const there = cuts.has(key(one, other)), back = cuts.has(key(other, one));
    const a = at.get(one), b = at.get(other);
    const kind = there && back ? "link cut" : slow.has(key(one, other)) || slow.has(key(other, one)) ? "link slow" : "link";
    line(svg, kind, a.x, a.y, b.x, b.y);
    if (there || back) wall(svg, a, b, there && back ? 0.5 : there ? 0.68 : 0.32);
  }));
}

// Draws a wall across a link. One that stands nearer to one end stops what goes to that end.
function wall(svg, a, b, share) {
  const m = along(a, b, share), length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const ux = (b.x - a.x) / length, uy = (b.y - a.y) / length;
  line(svg, "wall", m.x - uy * 11, m.y + ux * 11, m.x + uy * 11, m.y - ux * 11);
}

function drawPacket(svg, packet, at) {
  const a = at.get(packet.from), b = at.get(packet.to);
  if (!a || !b) return;
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1, room = Math.min(NODE_R / length, 0.45);
  const m = along(a, b, room + (1 - 2 * room) * packet.share);
  const group = make("g", { class: `packet ${packet.fate}` }, svg);
  make("title", {}, group, `${packet.text}, ${packet.from} → ${packet.to}`);
  line(group, "trail", along(a, b, room).x, along(a, b, room).y, m.x, m.y).style.stroke = packet.colour;
  if (packet.fate === "lost") make("path", { class: "loss", d: `M${m.x - 6} ${m.y - 6}l12 12m0 -12l-12 12` }, group);
  else if (packet.fate === "waiting") make("rect", { class: "kept", x: m.x - 6, y: m.y - 6, width: 12, height: 12, style: `stroke: ${packet.colour}` }, group);
  else make("circle", { cx: m.x, cy: m.y, r: 6.5, style: `fill: ${packet.colour}` }, group);
  const text = packet.count > 1 ? `${packet.count} × ${packet.text}` : packet.text;
  if (text) make("text", { class: "packet-text", x: m.x + 10, y: m.y - 8 }, group, cut(text, 26));
}

function drawNode(svg, node, { x, y }) {
  const group = make("g", { class: `node ${node.state}`, "data-node": node.id }, svg);
  make("title", {}, group, sentence(node));
  const shown = node.decided || node.holds;
  make("circle", { class: `body ${node.role === "leader" ? "leads" : ""}`, cx: x, cy: y, r: NODE_R }, group);
  if (node.role === "leader") make("circle", { class: "crown", cx: x, cy: y, r: NODE_R + 5 }, group);
  make("text", { class: "name", x, y: shown ? y - 3 : y + 6, "text-anchor": "middle" }, group, cut(node.id, 6));
  if (shown) drawShape(group, shown, x, y + 12, 8, Boolean(node.decided));
  if (node.state === "down" || node.state === "refused") make("path", { class: "crossed", d: `M${x - 19} ${y - 19}L${x + 19} ${y + 19}M${x + 19} ${y - 19}L${x - 19} ${y + 19}` }, group);
  if (node.state === "suspended") make("path", { class: "paused", d: `M${x - 6} ${y - 36}v-14m12 14v-14` }, group);
  lines(node).forEach(([kind, text], i) => make("text", { class: kind, x, y: y + NODE_R + (node.role === "leader" ? 22 : 18) + 16 * i, "text-anchor": "middle" }, group, cut(text, TEXT_MAX)));
  return group;
}

// The lines below a node: its state or role, then what it holds, decided or has reached.
function lines(node) {
  const found = [];
  if (node.state !== "up") found.push(["state-text", node.why || STATE_WORDS[node.state] || node.state]);
  const role = [node.role, node.ballot].filter(Boolean).join(" ");
  if (role) found.push(["role-text", role]);
  if (node.decided) found.push(["value-text", `decided ${node.decided.text}`]);
  else if (node.holds) found.push(["value-text", `${node.holdsWord || "accepted"} ${node.holds.text}`]);
  if (node.log) found.push(["role-text", node.log]);
  if (node.doing && found.length < 3) found.push(["role-text", node.doing]);
  return found.slice(0, 4);
}

const sentence = (node) => `${node.id}: ${[node.state === "up" ? "up" : node.why || STATE_WORDS[node.state] || node.state, ...lines(node).filter(([kind]) => kind !== "state-text").map(([, text]) => text)].join(", ")}`;

// The picture in words, for those who do not see it.
export function describe(picture) {
  const cuts = picture.cuts.length ? ` Cut: ${picture.cuts.slice(0, 12).map(([a, b]) => `${a} to ${b}`).join(", ")}${picture.cuts.length > 12 ? " and more" : ""}.` : "";
  return `${picture.nodes.map(sentence).join("; ")}.${cuts}`;
}

// Draws the legend of values: each with its shape, its colour and its text.
export function drawLegend(parent, values) {
  parent.replaceChildren();
  for (const value of values) {
    const entry = html("span", null, parent, `legend ${value.colour || ""}`);
    const svg = make("svg", { width: 18, height: 18, viewBox: "0 0 18 18", "aria-hidden": "true" }, entry);
    drawShape(svg, value, 9, 9, 7, true);
    html("span", value.text, entry);
  }
}
