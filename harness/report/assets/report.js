// Begins the page of a run: the picture of the nodes at a moment, the player that moves it, and the space-time diagram.
import { byId, h, seconds } from "./dom.js";
import { TypeMarks, colourValues, valueMark } from "./marks.js";
import { Store } from "./store.js";
import { namesOf, pictureAt, variableAt } from "./picture.js";
import { Ring } from "./ring.js";
import { MessageLayer } from "./messages.js";
import { createPlayer } from "./player.js";
import { createDiagram } from "./diagram.js";

const CALLS_US = 400000, CALLS_SHOWN = 8, LEGEND_MAX = 14; // an answered call stays beside the picture for so long

// Returns the events of the data: a string stands there as its number in the table (harness/report/page_data.py).
function unpacked({ texts, events }) {
  return Object.entries(events).flatMap(([k, { fields, rows }]) => rows.map((row) => {
    const event = { k };
    fields.forEach((field, number) => { event[field] = typeof row[number] === "string" ? texts[Number(row[number])] : row[number]; });
    return event;
  }));
}

const data = JSON.parse(byId("data").textContent), store = new Store(), { about } = data;
store.add(unpacked(data));
colourValues(about.colours);
const run = { store, about, first: data.span[0], last: data.span[1], marks: new TypeMarks(about.types) };
const names = namesOf(store, about), calls = byId("calls");
const ring = new Ring(byId("picture"), run.marks, null, true), layer = new MessageLayer(ring);
ring.layOut(names);
let player = null;

function show(t, flight) {
  const variable = diagram.variable || variableAt(store, names, t);
  ring.draw(pictureAt(store, about, names, t, variable));
  const draw = () => layer.draw(store, t, flight, null, false);
  draw();
  requestAnimationFrame(draw); // the first time, the canvas gets its size before the next frame
  const there = store.callsAt(t, Infinity).filter((o) => o.t1 === null || o.t1 > t - CALLS_US).slice(-CALLS_SHOWN);
  calls.replaceChildren(...there.map((o) => {
    const isOpen = o.t1 === null || o.t1 > t, mark = !isOpen && o.outcome === "ok" && o.answer !== "undecided" ? valueMark(o.answer).css : "";
    return h("li", { class: isOpen ? "open" : o.outcome }, h("span", {}, `${o.asked} at ${o.at ?? "any node"}`),
      h("b", { class: `value ${mark}` }, isOpen ? `waits for ${seconds(t - o.t)}` : `→ ${o.answer}`));
  }));
  if (!there.length) calls.append(h("li", { class: "none" }, "no call is under way"));
  diagram.showNow(t);
}

const diagram = createDiagram(run, { scroller: byId("scroller"), canvas: byId("canvas"), lanes: byId("lanes"), details: byId("details"),
  tools: byId("tools"), drawn: byId("drawn") }, (t) => { if (player) { player.play(false); player.goTo(t); } });
player = createPlayer(run, byId("player"), byId("predicates"), show);
byId("legend").append(...Object.keys(about.colours).slice(0, LEGEND_MAX).map((text) => {
  const mark = valueMark(text);
  return h("span", { class: `value ${mark.css}` }, `${mark.glyph} ${text}`);
}), ...run.marks.types.filter((type) => store.order.some((message) => message.type === type)).map((type) => h("span", { class: "of-type" }, run.marks.icon(type), type)));
byId("save-ring").addEventListener("click", () => layer.save(`nodes-at-${seconds(player.t).replace(" ", "")}.svg`));
// A link to a moment: page.html#t=1.25 is the picture at 1.25 seconds.
const asked = /^#t=(-?\d+(?:\.\d+)?)$/.exec(location.hash);
player.goTo(asked ? Number(asked[1]) * 1e6 : data.start);

byId("stage").addEventListener("keydown", (event) => {
  if (event.target.closest("select, input, button") && event.key === " ") return;
  const act = { " ": () => player.play(!player.isPlaying), ".": () => player.stepTo("message", 1), ",": () => player.stepTo("message", -1) }[event.key];
  if (act) { event.preventDefault(); act(); }
});
for (const element of document.querySelectorAll("[data-jump]")) element.addEventListener("click", () => {
  const found = element.dataset.operation !== undefined && diagram.showOperation(Number(element.dataset.operation));
  byId("diagram").scrollIntoView({ behavior: "smooth" });
  player.goTo(found && found.t1 !== null ? found.t1 : Number(element.dataset.jump));
  diagram.goTo(Number(element.dataset.jump));
});
for (const chart of document.querySelectorAll("svg.chart[data-left]")) chart.addEventListener("click", (event) => {
  const box = chart.getBoundingClientRect(), width = chart.viewBox.baseVal.width;
  const left = Number(chart.dataset.left), right = Number(chart.dataset.right);
  const share = ((event.clientX - box.left) / box.width * width - left) / (width - left - right);
  byId("diagram").scrollIntoView({ behavior: "smooth" });
  player.goTo(run.first + Math.min(Math.max(share, 0), 1) * (run.last - run.first));
});
document.documentElement.dataset.drawn = "yes"; // tests read this: the script has run to its end
