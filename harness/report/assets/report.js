// Begins the page of a run: the picture of the nodes at a moment, the player that moves it, and the space-time diagram.
import { html, saveSvg } from "./svg.js";
import { drawLegend, drawRing } from "./ring.js";
import { decodeRun, seconds } from "./run_data.js";
import { callsAt, pictureAt } from "./moment.js";
import { createPlayer } from "./player.js";
import { createDiagram } from "./diagram.js";

const byId = (id) => document.getElementById(id);
const run = decodeRun(JSON.parse(byId("data").textContent));
run.waiting = run.messages.filter((m) => m.deliveries[0]?.[0] !== m.t && m.losses[0]?.[0] !== m.t);

const ring = byId("ring"), calls = byId("calls");
const CALLS_US = 400000; // an answered call stays beside the picture for so long
let player = null;

function show(t, reach) {
  drawRing(ring, pictureAt(run, t, reach, diagram.variable));
  calls.replaceChildren();
  for (const o of callsAt(run, t, CALLS_US)) {
    const isOpen = o.t1 === null || o.t1 > t;
    const row = html("li", null, calls, isOpen ? "open" : o.outcome);
    html("span", `${o.asked} at ${o.at}`, row);
    html("b", isOpen ? `waits for ${((t - o.t0) / 1000).toFixed(1)} ms` : `→ ${o.answer}`, row, `value ${isOpen ? "" : o.colour || ""}`);
  }
  if (!calls.childElementCount) html("li", "no call is under way", calls, "none");
  diagram.showNow(t);
}

const diagram = createDiagram(run, { scroller: byId("scroller"), canvas: byId("canvas"), lanes: byId("lanes"), details: byId("details"),
  tools: byId("tools"), drawn: byId("drawn") }, (t) => { if (player) { player.play(false); player.goTo(t); } });
player = createPlayer(run, byId("player"), byId("predicates"), show);
drawLegend(byId("legend"), run.legend.map(([text, colour]) => ({ text, colour })));
byId("save-ring").addEventListener("click", () => saveSvg(ring, `nodes-at-${seconds(player.t).replace(" ", "")}.svg`));
// A link to a moment: page.html#t=1.25 is the picture at 1.25 seconds.
const asked = /^#t=(-?\d+(?:\.\d+)?)$/.exec(location.hash);
player.goTo(asked ? Number(asked[1]) * 1e6 : run.start);

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
