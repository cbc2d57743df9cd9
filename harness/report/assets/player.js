// Moves through the time of a recorded run: a slider, play and pause, steps to the next message, fault or decision, and predicates
// that turn red at the step that breaks them.
//
// Rules
// 1. The player changes nothing but the time. Whoever draws is told by `onTime(t)`, and asks it by `goTo(t)`.
// 2. While it plays, a pause without an event is cut to `PAUSE_S` seconds of the reader's time.
import { seconds, search } from "./run_data.js";
import { html } from "./svg.js";

const PAUSE_S = 0.8, SPEEDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Returns the times at which something happens: of messages, of faults, of calls, and of new decisions.
export function eventsOf(run) {
  const times = (found) => [...new Set(found)].sort((a, b) => a - b);
  const decisions = run.changes.filter(([, , , field]) => field === "decided").map(([t]) => t);
  const faults = run.faults.flatMap((f) => f.t1 === null ? [f.t0] : [f.t0, f.t1]);
  const messages = run.messages.flatMap((m) => m.steps.map(([t]) => t));
  const calls = run.operations.flatMap((o) => o.t1 === null ? [o.t0] : [o.t0, o.t1]);
  return { message: times(messages), fault: times(faults), decision: times(decisions), any: times([...messages, ...faults, ...calls]) };
}

export function createPlayer(run, bar, panel, onTime) {
  const events = eventsOf(run), first = Math.min(run.first, events.any[0] ?? run.first);
  const state = { t: first, speed: 0.01, playing: false, frame: 0 };
  const slider = html("input", null, bar), clock = html("output", "", bar, "clock");
  slider.type = "range"; slider.min = 0; slider.max = 10000; slider.step = 1;
  slider.setAttribute("aria-label", "time of the run");
  // The slider has a place for each event and each pause, so that a burst of messages does not vanish in a second of silence.
  const times = [first, ...events.any.filter((t) => t > first && t < run.last), run.last];
  const toPlace = (t) => { const i = Math.max(search(times, (x) => x, t + 1) - 1, 0); const next = times[i + 1] ?? times[i];
    return (i + (next > times[i] ? Math.min((t - times[i]) / (next - times[i]), 1) : 0)) / Math.max(times.length - 1, 1) * 10000; };
  const toTime = (place) => { const x = place / 10000 * (times.length - 1), i = Math.min(Math.floor(x), times.length - 1); const next = times[i + 1] ?? times[i];
    return Math.round(times[i] + (x - i) * (next - times[i])); };

  function goTo(t) {
    state.t = Math.min(Math.max(t, first), run.last);
    slider.value = String(Math.round(toPlace(state.t)));
    slider.setAttribute("aria-valuetext", seconds(state.t));
    clock.textContent = `${(state.t / 1e6).toFixed(4)} s of ${(run.last / 1e6).toFixed(2)} s`;
    showPredicates();
    onTime(state.t, reach());
  }
  // How long before and after its arrival a message is drawn on its way: a third of a second of the reader's time.
  const reach = () => Math.max(state.playing ? 0.3e6 * state.speed : 40, 1);
  function stepTo(kind, way) {
    play(false);
    const there = events[kind], i = search(there, (t) => t, way > 0 ? state.t + 1 : state.t);
    const next = way > 0 ? there[i] : there[i - 1];
    if (next !== undefined) goTo(next);
  }
  let before = 0;
  function tick(now) {
    if (!state.playing) return;
    const passed = Math.min((now - before) / 1000, 0.1) * state.speed * 1e6;
    before = now;
    let t = state.t + passed;
    const next = events.any[search(events.any, (x) => x, state.t + 1)];
    const last = events.any[search(events.any, (x) => x, state.t + 1) - 1] ?? first;
    const pause = PAUSE_S * state.speed * 1e6;
    if (next !== undefined && next - last > pause * 2 && t > last + pause && t < next - pause) t = next - pause;
    goTo(t);
    if (state.t >= run.last) play(false); else state.frame = requestAnimationFrame(tick);
  }
  function play(on) {
    if (on && state.t >= run.last) state.t = first;
    if (on && calm()) { stepTo("any", 1); return; } // who asks for less motion sees one step a press
    state.playing = on;
    playButton.textContent = on ? "⏸ pause" : "▶ play";
    playButton.setAttribute("aria-pressed", String(on));
    if (on) { before = performance.now(); state.frame = requestAnimationFrame(tick); } else cancelAnimationFrame(state.frame);
  }
  const controls = html("div", null, bar, "controls");
  const button = (text, title, act) => { const made = html("button", text, controls); made.title = title; made.addEventListener("click", act); return made; };
  const playButton = button("▶ play", "play or pause (space)", () => play(!state.playing));
  const speed = html("select", null, controls);
  speed.setAttribute("aria-label", "speed");
  for (const factor of SPEEDS) html("option", factor < 1 ? `1/${Math.round(1 / factor)}` : `${factor} ×`, speed).value = String(factor);
  speed.value = String(state.speed);
  speed.addEventListener("change", () => { state.speed = Number(speed.value); });
  for (const [kind, key] of [["message", ", and ."], ["fault", ""], ["decision", ""]]) {
    if (!events[kind].length) continue;
    button("◀", `to the ${kind} before${key ? ` (keys ${key})` : ""}`, () => stepTo(kind, -1)).setAttribute("aria-label", `previous ${kind}`);
    html("span", kind, controls, "kind");
    button("▶", `to the next ${kind}`, () => stepTo(kind, 1)).setAttribute("aria-label", `next ${kind}`);
  }
  slider.addEventListener("input", () => { play(false); goTo(toTime(Number(slider.value))); });

  const rows = run.predicates.map((predicate) => {
    const row = html("div", null, panel, "predicate");
    const head = html("button", null, row, "predicate-head");
    const mark = html("span", "", head, "mark");
    html("b", predicate.name, head);
    const word = html("span", "", head, "word");
    html("p", predicate.about, row, "promise");
    const evidence = html("p", "", row, "evidence");
    head.addEventListener("click", () => { play(false); if (predicate.t !== null) goTo(predicate.t); });
    head.title = predicate.t === null ? predicate.about : "go to the step that breaks it";
    return { predicate, row, mark, word, evidence };
  });
  function showPredicates() {
    for (const { predicate, row, mark, word, evidence } of rows) {
      const isBroken = predicate.t !== null && predicate.t <= state.t;
      row.classList.toggle("broken", isBroken);
      mark.textContent = isBroken ? "✗" : "✓";
      word.textContent = isBroken ? `broken at ${seconds(predicate.t)}` : predicate.t === null ? "holds to the end" : "holds until now";
      evidence.textContent = isBroken ? predicate.evidence : "";
    }
  }
  return { goTo, play, stepTo, get t() { return state.t; }, get isPlaying() { return state.playing; } };
}
