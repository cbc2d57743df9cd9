// The page: connects the server's events with the picture, the panels and the bar of time.

import { Clock } from "./clock.mjs";
import { Connection } from "./connection.mjs";
import { button, byId, coded, h, plural, say } from "./dom.js";
import { FaultMenu } from "./faultmenu.mjs";
import { Link } from "./link.mjs";
import { TypeMarks, valueMark } from "./marks.js";
import { MessageLayer } from "./messages.js";
import { namesOf, OF_JUDGES, pictureAt, variableAt, variablesAt } from "./picture.js";
import { Panels } from "./panels.mjs";
import { Legend, Ring } from "./ring.js";
import { Sibling } from "./sibling.mjs";
import { SpaceTimeStrip } from "./strip.mjs";
import { Store } from "./store.js";
import { TimeBar } from "./timebar.mjs";
import { asJudged, tolerance } from "./tolerance.mjs";
import { Tour } from "./tour.mjs";
import { TwinPanels } from "./twin.mjs";

const FLIGHT_US = 650000, CALLS_SHOWN = 5, CALLS_SHOWN_BESIDE = 3, WAITING_SHOWN = 2, WAITING_LOOKED_AT = 20, PRESS_MS = 600;
// How often what is drawn: a frame of messages, a change of a node or a call, a log that only grows, the bar of time.
// 30 frames of messages a second suffice, and leave the machine to the nodes. Where an element changes, the browser lays out and paints
// anew, which takes as long as several frames of messages: so what only grows, and the bar of time, change together and seldom.
const FRAME_MS = 30, VSYNC_MS = 16, TURN_MS = 30, CALM_MS = 400, STRIP_MS = 100;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const store = new Store();
const page = { about: null, stand: {}, pending: {}, version: -1, turn: "", barDrawn: 0, stripDrawn: 0, restDrawn: 0, due: 0, standWaits: false };

// What a reader presses must still be there when the button of the mouse goes up, or the browser sees no click. So nothing is
// replaced in between, for PRESS_MS at most.
let pressedAt = -Infinity;
addEventListener("pointerdown", () => { pressedAt = performance.now(); }, true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(() => { pressedAt = -Infinity; }), true);
const isPressed = () => performance.now() - pressedAt < PRESS_MS;

function take(message) {
  if (message.m === "about") { beginAnew(message); return; }
  if (message.anew) store.clear();
  page.clock.sync(message.now);
  const turns = store.turns;
  store.add(message.events);
  page.legend.add(message.events.filter((event) => event.k === "msg"));
  if (message.stand) {
    page.stand = message.stand;
    page.clock.isOver = Boolean(message.stand.over);
    showStand();
  }
  page.link.follow(page, store, hint);
  if (store.turns !== turns && page.clock.follows && !document.hidden) draw(); // what was just done shows at once
}

function showStand() {
  page.standWaits = isPressed();
  if (page.standWaits) return; // `frame` comes back to it
  document.body.classList.toggle("over", page.clock.isOver);
  page.panels.take(page.stand);
  if (page.stand.tour) { page.tour.take(page.stand.tour); page.version = -1; } // it may tell a verdict
  page.twin?.take(page.stand.twin);
  page.panels.takeBeside(page.stand.beside, page.note);
  banner();
}

// The server says what the page is about: at first, when the connection has come back, and when it shows another cluster.
function beginAnew(about) {
  const isFirst = !page.about, drawn = JSON.stringify(about);
  store.clear();
  if (page.drawn === drawn) return;
  for (const id of ["toolbar", "picture", "legend", "side", "time", "predicates", "faults"]) byId(id).replaceChildren();
  Object.assign(page, { drawn, stand: {}, pending: {}, version: -1, standWaits: false, knowsVotes: false, menu: null, note: null });
  begin(about);
  if (isFirst) requestAnimationFrame(frame);
}

function begin(about) {
  page.about = about;
  const name = about.algorithm.split(":").at(-1);
  document.body.classList.toggle("empty", !about.nodes.length);
  byId("title").textContent = (page.sibling.isThere && about.run) || name;
  document.title = `${name}: Consensus Lab`;
  const marks = new TypeMarks(about.types);
  page.clock = new Clock(about.live, about.virtual ? FLIGHT_US : 0);
  page.ring = new Ring(byId("picture"), marks, { node: (node) => select({ node }), link: (from, to) => select({ from, to }), held: (one) => { if (page.clock.follows || about.virtual) page.panels.deliver(one); }, knife }, about.read_only);
  page.layer = new MessageLayer(page.ring);
  page.panels = new Panels(byId("side"), about, act, (node, text) => { if (text) page.pending[node] = text; else delete page.pending[node]; });
  page.panels.on_close = () => select(null);
  page.panels.on_link = (from, to) => select({ from, to });
  if (about.virtual) page.twin = new TwinPanels(page.panels);
  page.bar = new TimeBar(byId("time"), store, page.clock, () => {}, about.step_us, about.differences);
  page.diagram = new SpaceTimeStrip(byId("time"), page.bar.controls, store, page.clock, page.layer, () => { page.bar.focus = null; });
  page.ring.layOut(about.nodes);
  byId("toolbar").append(button("Save SVG", () => page.layer.save(`${about.algorithm}.svg`), { id: "save-svg", title: "save this picture as a file" }),
    h("label", { class: "of-variable", hidden: true, title: "which variable the picture is about" }, "picture of ", h("select", { id: "variable", onchange: () => { page.version = -1; } })));
  page.legend = new Legend(byId("legend"), marks, page.ring.hidden);
  byId("predicates").replaceChildren(...about.predicates.map((name) => h("span", { role: "listitem", class: "predicate", "data-predicate": name }, name)),
    about.nodes.length && !about.virtual && (!about.system || about.answers_within_s) ? h("span", { role: "listitem", id: "tolerance" }) : ""); // in the twin a client may stop waiting at any time
  if (about.live && !about.read_only) tools(about);
  select(null, true);
  page.panels.on_difference = (difference) => page.sibling.goTo(difference, store.last);
  if (!about.live) page.clock.show(Infinity);
}

// Does an act on the present. In the virtual twin an act at a moment of the past goes back there, and begins a branch.
async function act(name, args) {
  const { clock, about, stand } = page, step = about.virtual && !clock.follows ? Math.floor(clock.t / about.step_us + 1e-6) : null;
  clock.follow();
  if (step !== null && name !== "go" && step < stand.twin.depth) await connection.act("go_to_step", { step });
  return connection.act(name, args);
}

function tools(about) {
  if (!about.tour && !about.virtual) page.menu = new FaultMenu(byId("faults"), about.faults, (fault, args, note) => page.panels.do("inject", { fault, arguments: args }, note));
  const groups = h("input", { id: "groups", "aria-label": "groups to cut from each other", placeholder: "n1,n2/n3,n4,n5", autocomplete: "off" });
  const note = h("span", { class: "note", "aria-live": "polite", id: "tool-note" });
  page.note = note;
  byId("toolbar").append(note);
  byId("toolbar").prepend(
    about.tour || about.virtual ? "" : button("Faults …", () => page.menu.open(), { id: "open-faults", title: "every fault of the catalogue: the key F", "aria-keyshortcuts": "f" }),
    groups, button("Partition", () => page.panels.do("partition", { groups: groups.value }, note), { id: "partition" }),
    button("Heal all", () => page.panels.do("heal", {}, note), { id: "heal-all" }),
    about.virtual ? "" : h("a", { id: "report-link", href: "report", target: "_blank", rel: "noopener" }, "report"));
}

function knife(links, oneWay) { page.panels.do("cut", { links, one_way: oneWay }, page.note); }

// `isTold`: the other frame has told it.
function select(selection, isTold = false) {
  if (!page.ring) return;
  if (!isTold) page.sibling.tellSelection(selection);
  page.ring.selected = selection?.node ?? null;
  page.panels.select(selection);
  page.version = -1;
}

// Shows a sentence at the top until the reader closes it, or none.
function hint(text) {
  const element = byId("hint");
  element.hidden = !text;
  element.replaceChildren(...coded(text), button("×", () => { element.hidden = true; }, { class: "close", "aria-label": "close" }));
}

function banner() {
  const { ended, trouble, over, booting } = page.stand, element = byId("banner");
  element.hidden = !ended && !trouble && !booting;
  element.classList.toggle("booting", Boolean(booting));
  element.replaceChildren(...coded(booting ? "The nodes are booting …" : ended ? `The cluster does not run: ${ended} ` : trouble ?? ""));
  if (ended && !booting && page.about.live && !page.about.read_only) {
    const start = button("Start it again", async () => { start.disabled = true; const reply = await connection.act("start", {}); if (!reply.ok) { start.disabled = false; element.append(` ${reply.text}`); } }, { id: "start" });
    element.append(start);
  }
  byId("subtitle").textContent = `${plural(page.about.nodes.length, "node")}${page.about.virtual ? ", virtual" : ""}${over ? ` · ${over}` : page.stand.run ? ` · run ${page.stand.run}` : ""}`;
}

// --- each frame ---------------------------------------------------------------------------------------------------------

// Asks for the next frame when it is nearly due: the browser would prepare each one before that in vain. While nothing moves it prepares
// none, and what has changed meanwhile is drawn by itself.
function again() {
  const isMoving = !page.layer.isClear || !page.clock.follows || document.hidden, wait = page.due - performance.now() - (isMoving ? VSYNC_MS / 2 : 0);
  const next = isMoving ? () => requestAnimationFrame(frame) : frame;
  if (wait > 2 || !isMoving) setTimeout(next, wait); else next();
}

function frame() {
  try { draw(); } finally { again(); }
}

function draw() {
  const { clock, ring, bar } = page, now = performance.now(), isDue = (last, every) => !clock.follows || now - last > every;
  // A frame that is late makes no other one late; nor does a picture between two frames.
  if (now > page.due - VSYNC_MS) page.due = Math.max(page.due, now - FRAME_MS) + FRAME_MS;
  if (store.first === null) page.link.write(page, store); // of a chapter that has no cluster yet
  if (clock.t === Infinity) { if (store.first === null) return; clock.show(store.last); }
  const t = clock.frame(store.last);
  if (!page.about.live) page.sibling.tellTime(t);
  const flight = FLIGHT_US * (clock.follows || page.about.virtual ? 1 : clock.speed);
  const leftOut = page.layer.draw(store, t, flight, bar.focus, still.matches);
  const isBarDue = isDue(page.barDrawn, CALM_MS);
  if (isBarDue) {
    page.barDrawn = now;
    bar.draw(t);
    page.link.write(page, store);
    const thinned = store.thinned + leftOut;
    if (page.thinned !== thinned) { page.thinned = thinned; byId("legend").dataset.thinned = thinned ? `${thinned.toLocaleString("en")} messages are not drawn` : ""; }
  }
  if (isDue(page.stripDrawn, STRIP_MS)) { page.stripDrawn = now; page.diagram.draw(t, ring.names); }
  // The rest changes seldom: with new events, or when the time that is shown is another one.
  const waits = clock.follows && !page.about.virtual && store.callsAt(t, WAITING_LOOKED_AT).some((call) => call.t1 === null) ? Math.floor(t / 5e5) : "";
  const turn = `${store.turns} ${waits} ${[...ring.hidden]} ${clock.follows && !page.about.virtual ? "" : t} ${JSON.stringify(page.pending)} ${page.stand.held_count}`;
  const key = `${turn} ${store.version}`, isCalm = turn === page.turn && page.version !== -1;
  if (page.standWaits) showStand();
  if (key !== page.version && (isCalm ? isBarDue : now - page.restDrawn > TURN_MS) && !isPressed()) {
    Object.assign(page, { version: key, turn, restDrawn: now });
    drawRest(t);
  }
}

function drawRest(t) {
  const { ring, panels } = page;
  const names = namesOf(store, page.about);
  if (names.length !== ring.names.length) { ring.layOut(names); panels.nodes = names; }
  const picture = pictureAt(store, page.about, names, t, variableToShow(names, t)), { nodes } = picture;
  if (page.clock.follows && !page.about.virtual) picture.held = page.stand.held ?? [];
  ring.draw({ ...picture, pending: page.pending });
  const name = panels.selection?.node;
  panels.drawFacts(nodes.find((node) => node.name === name), store.nodeAt(name, Infinity) ?? {});
  document.body.classList.toggle("in-past", !page.clock.follows);
  calls(t);
  if (!page.knowsVotes && nodes.some((node) => node.facts.votes)) {
    page.knowsVotes = true;
    byId("legend").append(h("span", {}, "●2 ■1 in a node: the votes that it knows"));
  }
  const mark = byId("tolerance");
  if (mark) {
    const found = tolerance(store, names, t), verdict = page.about.verdicts?.["fault tolerance"] ?? (page.clock.isOver && page.tour.verdict("fault tolerance"));
    const { state, text, why } = verdict ? asJudged(verdict, found) : found;
    say(mark, { className: `predicate-of-${state}`, textContent: text, title: why });
  }
  for (const chip of byId("predicates").querySelectorAll("[data-predicate]")) {
    const broken = store.broken.get(chip.dataset.predicate), is = Boolean(broken && broken.t <= t);
    const isUnseen = !is && page.about.live && store.thinned > 0 && page.about.of_messages?.includes(chip.dataset.predicate);
    chip.classList.toggle("broken", is);
    chip.classList.toggle("unseen", isUnseen);
    say(chip, { title: `${page.about.promises[chip.dataset.predicate] ?? ""}: ${is ? broken.evidence : isUnseen ? "not seen, since not all messages were looked at; the judges do so at the end of the session" : "not broken up to here"}`,
      textContent: `${is ? "✗" : isUnseen ? "–" : "✓"} ${chip.dataset.predicate}${is ? `: ${broken.evidence}` : ""}` });
  }
}

// Returns the variable that the picture is about: the one that the reader has chosen, or else that of the last call. The menu names it.
function variableToShow(names, t) {
  const there = variablesAt(store, names, t), choice = byId("variable");
  if (choice.dataset.names !== there.join(" ")) {
    const chosen = choice.value;
    choice.dataset.names = there.join(" ");
    choice.replaceChildren(h("option", { value: "" }), ...there.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    choice.parentElement.hidden = there.length < 2;
  }
  const last = variableAt(store, names, t);
  say(choice.options[0], { textContent: there.includes(last) ? `${last}, the last one` : "the last one" });
  return choice.value || last;
}

function calls(t) {
  const waitsAt = (call) => call.t1 === null || call.t1 > t;
  const most = page.sibling.isThere ? CALLS_SHOWN_BESIDE : CALLS_SHOWN, also = page.sibling.isThere ? 0 : WAITING_SHOWN;
  const all = store.callsAt(t, Infinity).filter((call) => call.key !== OF_JUDGES), last = all.slice(-most), waiting = all.slice(0, -most).filter(waitsAt);
  const shown = [...waiting.slice(waiting.length - Math.min(also, waiting.length)), ...last], more = waiting.length - also, isOneKey = new Set(shown.map((call) => call.key)).size < 2;
  const waited = (call) => Math.floor((t - call.t) / 1e6); // in seconds; in the virtual twin a step is no time
  const drawn = JSON.stringify([shown.map((call) => [call, waitsAt(call) && waited(call)]), more]);
  if (page.calls === drawn) return;
  page.calls = drawn;
  const rows = shown.map((call) => {
    const waits = waitsAt(call);
    const state = waits ? "waiting" : { ok: "answered", fail: "refused", info: "unknown" }[call.outcome] ?? call.outcome;
    const answer = waits ? `…${!page.about.virtual && waited(call) > 0 ? ` ${waited(call)} s` : ""}` : call.outcome === "ok" ? `→ ${call.answer}` : call.outcome === "fail" ? "→ refused" : "→ unknown";
    const mark = !waits && call.outcome === "ok" && /^['"]/.test(call.answer) ? valueMark(call.answer) : null;
    return h("li", { class: `call ${state}`, "data-state": state, title: `${call.asked} (${call.key}) at ${call.at ?? "any node"} ${answer} ${call.error ?? ""}` }, h("span", { class: "asked" }, `${call.at ? `${call.at}: ` : ""}${call.asked}${isOneKey ? "" : ` (${call.key})`}`),
      h("b", { class: mark ? `value ${mark.css}` : "" }, mark ? `→ ${mark.glyph} ${mark.name}` : answer));
  });
  if (more > 0) rows.unshift(h("li", { class: "call waiting" }, `and ${more} more wait`));
  byId("calls").replaceChildren(...rows);
}

// --- keys -----------------------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, dialog[open]") || event.ctrlKey || event.metaKey || event.altKey || !page.about) return;
  const key = event.key.toLowerCase();
  if (key === "enter") { if (!event.target.closest("button, summary, a, .node, .point")) page.tour.press(); }
  else if (key === "n" && page.about.live) page.panels.next();
  else if (key === "b" && page.twin) page.twin.back.click();
  else if (key === "f" && page.menu) { event.preventDefault(); page.menu.open(); }
  else if (key === "," ) page.bar.step(-1);
  else if (key === ".") page.bar.step(1);
  else if (key === "p") page.bar.playOrPause();
  else if (key === "escape") select(null);
});

page.sibling = new Sibling((selection) => select(selection, true), (t) => { if (page.bar) page.bar.focus = null; page.clock?.show(t); });
page.link = new Link(() => { if (page.about) page.link.follow(page, store, hint); });
page.tour = new Tour(byId("tour"), (name, args) => connection.act(name, args));
const NO_CONNECTION = { lost: "the server of this page does not answer: connecting again …", ended: "the session has ended: the page shows what it has seen" };
const connection = new Connection(take, (isOpen, hasEnded) => {
  byId("connection").textContent = isOpen ? "" : NO_CONNECTION[hasEnded ? "ended" : "lost"];
  document.documentElement.dataset.connected = isOpen ? "yes" : "no";
});
