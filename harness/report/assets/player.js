// Moves through the time of a recorded run: a slider, play and pause, steps to the next message, fault or decision, and predicates
// that turn red at the step that breaks them.
//
// Rules
// 1. The player changes nothing but the time: it calls `onTime(t, flight)`, and `goTo(t)` moves it. `flight` is how long a message
//    is drawn on its way, in microseconds of the run.
// 2. While it plays, a pause without an event is cut to `PAUSE_S` seconds of the reader's time.
import { button, h, seconds } from "./dom.js";
import { search } from "./store.js";

const PAUSE_S = 0.8, FLIGHT_S = 0.65, SPEEDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Returns the times at which something happens: of messages, of faults, of calls, and of new decisions.
function eventsOf(store) {
  const times = (found) => [...new Set(found)].sort((a, b) => a - b);
  const messages = store.steps.map(({ t }) => t), faults = store.moments("fault");
  return { message: times(messages), fault: times(faults), decision: times(store.moments("decision")), any: times([...messages, ...faults, ...store.moments("call")]) };
}

// Moves through `run`, { store, about, first, last }: draws its controls into `bar`, and the predicates into `panel`.
export function createPlayer(run, bar, panel, onTime) {
  const events = eventsOf(run.store), first = Math.min(run.first, events.any[0] ?? run.first);
  const state = { t: first, speed: 0.01, playing: false, frame: 0 };
  const slider = h("input", { type: "range", min: 0, max: 10000, step: 1, "aria-label": "time of the run", oninput: () => { play(false); goTo(toTime(Number(slider.value))); } });
  const clock = h("output", { class: "clock" });
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
    onTime(state.t, FLIGHT_S * 1e6 * state.speed);
  }
  function stepTo(kind, way) {
    play(false);
    const there = events[kind], i = search(there, (x) => x, way > 0 ? state.t + 1 : state.t);
    const next = way > 0 ? there[i] : there[i - 1];
    if (next !== undefined) goTo(next);
  }
  let before = 0;
  function tick(now) {
    if (!state.playing) return;
    const passed = Math.min((now - before) / 1000, 0.1) * state.speed * 1e6;
    before = now;
    let t = state.t + passed;
    const place = search(events.any, (x) => x, state.t + 1), next = events.any[place], last = events.any[place - 1] ?? first;
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
  const playButton = button("▶ play", () => play(!state.playing), { title: "play or pause (space)" });
  const speed = h("select", { "aria-label": "speed", onchange: () => { state.speed = Number(speed.value); goTo(state.t); } },
    SPEEDS.map((factor) => h("option", { value: factor, selected: factor === state.speed }, factor < 1 ? `1/${Math.round(1 / factor)}` : `${factor} ×`)));
  const steps = [["message", " (keys , and .)"], ["fault", ""], ["decision", ""]].filter(([kind]) => events[kind].length).map(([kind, keys]) => [
    button("◀", () => stepTo(kind, -1), { title: `to the ${kind} before${keys}`, "aria-label": `previous ${kind}` }), h("span", { class: "kind" }, kind),
    button("▶", () => stepTo(kind, 1), { title: `to the next ${kind}`, "aria-label": `next ${kind}` })]);
  bar.append(slider, clock, h("div", { class: "controls" }, playButton, speed, ...steps));

  const rows = run.about.predicates.map((name) => {
    const broken = run.store.broken.get(name), about = run.about.promises[name];
    const mark = h("span", { class: "mark" }), word = h("span", { class: "word" }), evidence = h("p", { class: "evidence" });
    const head = h("button", { type: "button", class: "predicate-head", title: broken ? "go to the step that breaks it" : about, onclick: () => { play(false); if (broken) goTo(broken.t); } }, mark, h("b", {}, name), word);
    const row = h("div", { class: "predicate" }, head, h("p", { class: "promise" }, about), evidence);
    panel.append(row);
    return { broken, row, mark, word, evidence };
  });
  function showPredicates() {
    for (const { broken, row, mark, word, evidence } of rows) {
      const isBroken = Boolean(broken && broken.t <= state.t);
      row.classList.toggle("broken", isBroken);
      mark.textContent = isBroken ? "✗" : "✓";
      word.textContent = isBroken ? `broken at ${seconds(broken.t)}` : !broken ? "holds to the end" : "holds until now";
      evidence.textContent = isBroken ? broken.evidence : "";
    }
  }
  return { goTo, play, stepTo, get t() { return state.t; }, get isPlaying() { return state.playing; } };
}
