// Draws the space-time diagram. Time runs down; each node has a lane, and the clients have one. Only the part in view exists.
//
// Rules
// 1. Strings of a run become text nodes or attribute values, never markup.
// 2. `place(t)` turns microseconds into pixels. In the mode "even" each event that is shown has a row, and a pause has a height that
//    grows with its logarithm. In the mode "linear" time is to scale. Both are piecewise linear over `knots`.
// 3. Messages stand in the order of their times. Those that end far below their beginning stand in `long` as well.
// 4. What messages and faults look like is in spacetime.js, which the live page's strip shares.

import { button, cut, h, s, saveSvg, seconds } from "./dom.js";
import { valueMark } from "./marks.js";
import { search } from "./store.js";
import { SvgPen, drawDecision, drawFault, drawMessage, fatesOf } from "./spacetime.js";

const DRAWN_MAX = 2500, ROW = 17, SLOPE = 7, PAUSE_US = 60000, CLIENTS = "client";
const line = (parent, css, x1, y1, x2, y2) => parent.append(s("line", { class: css, x1, y1, x2, y2 }));

// Draws `run`, { store, about, first, last, marks }, into the elements { scroller, canvas, lanes, details, tools, drawn }.
// `onTime(t)` is called with the time that is chosen.
export function createDiagram(run, { scroller, canvas, lanes, details, tools: bar, drawn: caption }, onTime) {
  const { store, about, marks } = run, { nodes } = about;
  const messages = store.order, operations = store.callOrder, faults = [...store.faults.values()].sort((a, b) => a.t - b.t);
  const variables = [...new Set([...operations.map((o) => o.key), ...messages.map((m) => m.variable)])].filter(Boolean).sort();
  const hidden = new Set();
  const state = { mode: "even", zoom: 1, labels: true, variable: "", shown: [], long: [], operations, columns: 1, chosen: null, operation: null, now: null };

  // --- layout -------------------------------------------------------------------------------------------------------
  const TIME_W = 96, GUTTER_W = 21;
  const spread = (items, begin, end) => { // gives each item a column, with as few columns as possible and no overlap
    const free = [];
    for (const item of items) {
      let column = free.findIndex((until) => until <= begin(item));
      if (column < 0) column = free.push(0) - 1;
      free[column] = end(item);
      item.column = column;
    }
    return free.length;
  };
  const last = run.last;
  const faultColumns = spread(faults, (f) => f.t, (f) => f.t1 ?? last + 1);
  let geometry = null;
  function measure() {
    const opsW = Math.min(state.columns <= 3 ? 3 * 124 : 430, 0.3 * scroller.clientWidth);
    const faultsX = TIME_W, opsX = TIME_W + Math.min(faultColumns, 12) * GUTTER_W + 12;
    const clientX = opsX + opsW + 14;
    const rest = Math.max(scroller.clientWidth - clientX - 70, 0);
    const laneW = Math.max(64, Math.min(190, rest / Math.max(nodes.length, 1)));
    const x = (end) => (end === CLIENTS ? clientX : clientX + 64 + laneW * (nodes.indexOf(end) + 0.5));
    geometry = { opsW, faultsX, opsX, clientX, laneW, x, width: Math.max(clientX + 66 + laneW * nodes.length, scroller.clientWidth) };
  }

  let knots = [];
  function layOut() {
    state.shown = messages.filter((m) => !hidden.has(m.type) && (!state.variable || m.variable === state.variable));
    state.operations = operations.filter((o) => !state.variable || o.key === state.variable);
    state.columns = spread(state.operations, (o) => o.t, (o) => (o.t1 ?? last) + 1);
    measure();
    const rows = new Set();
    for (const m of state.shown) for (const [t] of m.at) rows.add(t);
    for (const o of state.operations) { rows.add(o.t); if (o.t1 !== null) rows.add(o.t1); }
    for (const f of faults) { rows.add(f.t); if (f.t1 !== null) rows.add(f.t1); }
    rows.add(run.first); rows.add(last);
    const times = [...rows].sort((a, b) => a - b);
    knots = [[times[0], 34]];
    const perUs = 260 / 1e6 * state.zoom;
    for (let i = 1; i < times.length; i++) {
      const gap = times[i] - times[i - 1], [, y] = knots[i - 1];
      const extra = gap > 4000 ? Math.min(13 * Math.log2(gap / 4000), 110) : 0;
      knots.push([times[i], state.mode === "even" ? y + (ROW + extra) * state.zoom : y + gap * perUs]);
    }
    state.long = state.shown.filter((m) => place(fatesOf(m).end) - place(m.t) > 200);
    canvas.style.height = `${knots[knots.length - 1][1] + 60}px`;
    canvas.style.width = lanes.style.width = `${geometry.width}px`;
  }
  function between(wanted, a, b) { // turns coordinate a of the knots into coordinate b
    const i = Math.min(Math.max(search(knots, (k) => k[a], wanted), 1), knots.length - 1);
    if (knots.length < 2) return knots[0][b];
    const from = knots[i - 1], to = knots[i], share = (wanted - from[a]) / Math.max(to[a] - from[a], 1e-9);
    return from[b] + Math.min(Math.max(share, 0), 1) * (to[b] - from[b]);
  }
  const place = (t) => between(t, 0, 1), timeAt = (y) => between(y, 1, 0);

  // The geometry, for spacetime.js.
  const frame = {
    point: (t, end) => [geometry.x(end), place(t)],
    ahead: ([x, y], px) => [x, y + px],
    band: (t0, t1, end) => [geometry.x(end) - geometry.laneW / 2 + 3, place(t0), geometry.laneW - 6, Math.max(place(t1) - place(t0), 3)],
  };

  // --- drawing ------------------------------------------------------------------------------------------------------
  function drawLanes() {
    lanes.replaceChildren();
    const head = (x, text) => lanes.append(h("span", { style: `left: ${x}px` }, text));
    head(TIME_W / 2, "time");
    if (faults.length) head(geometry.faultsX + Math.min(faultColumns, 12) * GUTTER_W / 2 + 4, "faults");
    head((geometry.opsX + geometry.clientX) / 2 + (faults.length ? 12 : 0), "clients");
    for (const node of nodes) head(geometry.x(node), node);
  }

  let pending = false;
  const draw = () => { if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; paint(); }); } };
  function paint() {
    const top = Math.max(scroller.scrollTop - 300, 0), bottom = scroller.scrollTop + scroller.clientHeight + 300;
    const svg = s("svg", { class: "drawing", width: geometry.width, height: bottom - top, viewBox: `0 ${top} ${geometry.width} ${bottom - top}`, style: `top: ${top}px` });
    const view = { top, bottom, t0: timeAt(top), t1: timeAt(bottom) };
    const pen = new SvgPen(svg);
    for (const f of faults) if (inView(f, view)) drawFault(pen, frame, f, Math.max(f.t, view.t0), Math.min(f.t1 ?? last, view.t1));
    for (const node of nodes) line(svg, "lane", geometry.x(node), top, geometry.x(node), bottom);
    line(svg, "lane", geometry.clientX, top, geometry.clientX, bottom);
    drawTimes(svg, view);
    drawGutter(svg, view);
    const drawn = drawMessages(svg, view);
    drawOperations(svg, view);
    drawFaultEvents(svg, view);
    for (const one of store.decided) if (nodes.includes(one.node) && (!state.variable || one.variable === state.variable) && view.t0 <= one.t && one.t <= view.t1) drawDecision(pen, frame, one);
    drawNow(svg, view);
    canvas.replaceChildren(svg);
    const thinned = drawn.of > drawn.count ? `${drawn.count.toLocaleString()} of the ${drawn.of.toLocaleString()} messages in view are drawn; zoom in to see all. ` : "";
    caption.textContent = `${thinned}In view: ${seconds(timeAt(scroller.scrollTop))} to ${seconds(timeAt(scroller.scrollTop + scroller.clientHeight))} of ${seconds(last)}. `
      + "A message has one time, at which it arrived at the proxy. The slope of an arrow only shows its direction; a dashed arrow is a message that waited in the proxy.";
  }
  function drawTimes(svg, view) {
    let free = -1e9;
    for (let i = Math.max(search(knots, (k) => k[1], view.top) - 1, 0); i < knots.length && knots[i][1] < view.bottom; i++) {
      const [t, y] = knots[i];
      if (i > 0 && state.mode === "even" && t - knots[i - 1][0] > PAUSE_US) {
        const from = knots[i - 1][1] + 10, height = y - from - 8;
        if (height > 14) {
          svg.append(s("rect", { class: "pause", x: TIME_W, y: from, width: geometry.width - TIME_W, height, opacity: 0.55 }));
          svg.append(s("text", { class: "pause-text", x: geometry.clientX + 12, y: from + height / 2 + 5 }, `${((t - knots[i - 1][0]) / 1e6).toFixed(2)} s without an event`));
        }
      }
      if (y - free >= 32) { svg.append(s("text", { class: "tick", x: TIME_W - 10, y: y + 4, "text-anchor": "end" }, `${(t / 1e6).toFixed(4)} s`)); free = y; }
    }
  }

  function drawNow(svg, view) { // the time that the picture of the nodes shows
    if (state.now === null || state.now < view.t0 || state.now > view.t1) return;
    const y = place(state.now);
    line(svg, "now", TIME_W - 4, y, geometry.width, y);
    svg.append(s("path", { class: "now-mark", d: `M${TIME_W - 16} ${y - 7}l12 7l-12 7Z` }));
  }

  const inView = (item, view) => item.t <= view.t1 && (item.t1 ?? last) >= view.t0;
  const isDown = (f) => f.nodes.length > 0;
  const bounds = (f, view) => { const y0 = Math.max(place(f.t), view.top), y1 = Math.min(place(f.t1 ?? last), view.bottom); return [y0, Math.max(y1 - y0, 3)]; };
  function drawFaultEvents(svg, view) {
    const right = geometry.width - 30;
    const spots = [];
    for (const f of faults) {
      if (isDown(f)) continue;
      for (const [t, text] of [[f.t, `${f.name}: ${f.what}`], [f.t1, `${f.name} heals`]]) {
        if (t === null || t < view.t0 || t > view.t1) continue;
        const y = place(t);
        line(svg, "event", geometry.faultsX, y, right, y);
        let x = geometry.clientX + 40;
        while (spots.some((s) => Math.abs(s[0] - y) < 15 && Math.abs(s[1] - x) < 260)) x += 270;
        spots.push([y, x]);
        svg.append(s("text", { class: "event-text", x, y: y - 4 }, text));
      }
    }
  }
  function drawGutter(svg, view) {
    for (const f of faults) {
      if (!inView(f, view) || f.column >= 12) continue;
      const [y, height] = bounds(f, view), x = geometry.faultsX + f.column * GUTTER_W + 3;
      const group = s("g", {});
      svg.append(group);
      group.append(s("rect", { class: `gutter ${isDown(f) ? "node" : ""}`, x, y, width: GUTTER_W - 4, height, rx: 3 }));
      const text = `${f.name} ${f.what}`, room = Math.floor(height / 7);
      const seen = Math.max(y, scroller.scrollTop + 46);
      if (room > 5) group.append(s("text", { class: "gutter-text", transform: `translate(${x + 5} ${Math.min(seen + 6, y + height - 40)}) rotate(90)` }, text.length > room ? text.slice(0, room - 1) + "…" : text));
      listen(group, () => showFault(f));
    }
  }

  function drawMessages(svg, view) {
    const first = search(state.shown, (m) => m.t, view.t0);
    const end = search(state.shown, (m) => m.t, view.t1 + 1);
    const there = state.long.filter((m) => m.t < view.t0 && fatesOf(m).end >= view.t0).concat(state.shown.slice(first, end));
    const step = Math.max(1, Math.ceil(there.length / DRAWN_MAX));
    let count = 0;
    taken = new Map();
    const tight = there.length > 400 && (view.bottom - view.top) / there.length < 9;
    there.forEach((m, i) => { if (i % step === 0 || m === state.chosen) { drawOne(svg, m, state.labels && !tight); count++; } });
    return { count, of: there.length };
  }
  let taken = new Map(); // the labels in view: rows of 12 pixels to the spans that labels take
  function isFree([x, y, anchor], width) {
    const from = anchor === "end" ? x - width : x, to = from + width, row = Math.floor(y / 12);
    for (const near of [row - 1, row, row + 1])
      if ((taken.get(near) || []).some(([a, b, at]) => Math.abs(at - y) < 10 && a < to && from < b)) return false;
    taken.set(row, [...(taken.get(row) || []), [from, to, y]]);
    return true;
  }
  function drawOne(svg, m, labels) {
    const x1 = geometry.x(m.from), x2 = geometry.x(m.to), y1 = place(m.t), { css } = marks.of(m);
    const group = s("g", { class: m === state.chosen ? "message chosen" : "message" });
    svg.append(group);
    const way = Math.sign(x2 - x1) || 1;
    const slope = state.mode === "even" ? SLOPE * Math.min(state.zoom, 1.6) : 5;
    const ends = drawMessage(new SvgPen(group), frame, m, css, { slope });
    const spots = ends.map(({ at: [x, y], kind }) => [x - way * (kind === "delivered" ? 13 : 12), y - 4, way > 0 ? "end" : "start"]); // where its label may stand, the best first
    if (labels && Math.abs(x2 - x1) > 50) label(group, m, spots.concat(besideSteep(m, x1, y1, x2, way, slope)), css);
    const [xEnd, yEnd] = ends[0].at;
    line(group, "hit", x1, y1, xEnd, yEnd);
    listen(group, () => showMessage(m), () => { state.chosen = m; state.operation = null; onTime(m.t); draw(); });
  }
  // Where the label of a message that waited may stand, beside its long arrow: at its beginning, or at a point of it.
  function besideSteep(m, x1, y1, x2, way, slope) {
    const y2 = place(fatesOf(m).end) + slope;
    if (y2 - y1 < 3 * ROW) return [];
    const side = way > 0 ? "start" : "end";
    return [0.03, 0.2, 0.4, 0.6, 0.8].map((share) => [x1 + (x2 - x1) * share + way * 9, y1 + (y2 - y1) * share + 4, side]);
  }
  function label(group, m, spots, css) {
    const width = m.label.length * 6.4;
    const top = scroller.scrollTop + 40, bottom = scroller.scrollTop + scroller.clientHeight;
    const seen = spots.filter(([, y]) => y > top && y < bottom); // a long arrow may end far below what is in view
    const at = m === state.chosen ? seen[0] || spots[0] : (seen.length ? seen : spots).find((spot) => isFree(spot, width));
    if (at) group.append(s("text", { class: `label ${css}`, x: at[0], y: at[1], "text-anchor": at[2] }, m.label));
  }
  const nodeOf = (o) => o.at ?? "any node", wordOf = (o) => o.answer ?? "no answer";
  function drawOperations(svg, view) {
    const there = state.operations.filter((o) => inView(o, view));
    const step = Math.max(1, Math.ceil(there.length / DRAWN_MAX));
    const used = Math.max(1, ...there.map((o) => o.column + 1)); // so that bars are as wide as the calls in view allow
    const opW = Math.max(Math.min(124, geometry.opsW / used), 9);
    there.forEach((o, i) => {
      if (i % step && !o.witness.length) return;
      const answer = wordOf(o), mark = o.outcome === "ok" && o.answer !== "undecided" ? valueMark(o.answer).css : "";
      const x = geometry.opsX + o.column * opW;
      if (x + opW > geometry.clientX) return;
      const y0 = place(o.t), height = Math.max(place(o.t1 ?? last) - y0, 5);
      const kind = `op ${o.outcome ?? "info"} ${mark} ${o.witness.length ? "witness" : ""} ${o.id === state.operation ? "chosen" : ""}`;
      const group = s("g", { class: kind });
      svg.append(group);
      group.append(s("rect", { x: x + 2, y: y0, width: opW - 4, height, rx: 4 }));
      group.append(s("title", {}, `${o.asked} at ${nodeOf(o)} → ${answer}`));
      if (opW >= 64) writeInBox(group, o, x, y0, opW, height);
      else if (opW >= 15 && height >= 50) {
        const room = Math.floor((height - 12) / 7.2), words = [`${o.asked} at ${nodeOf(o)} → ${answer}`, `${o.asked} → ${answer}`, o.asked];
        group.append(s("text", { transform: `translate(${x + opW / 2 - 4} ${Math.min(Math.max(y0, scroller.scrollTop + 42), y0 + height - 50) + 7}) rotate(90)` },
          words.find((text) => text.length <= room) || cut(o.asked, room)));
      }
      listen(group, () => showOperation(o), () => { state.operation = o.id; state.chosen = null; onTime(o.t); draw(); });
    });
  }

  // Writes a call and its answer into its box. What is too long for a line goes over two, at the place between words.
  function writeInBox(group, o, x, y0, opW, height) {
    const most = Math.floor((opW - 12) / 6.3);
    const broken = (text) => {
      const at = text.lastIndexOf(" ", most);
      return text.length <= most || at <= 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
    };
    const room = Math.max(Math.floor((height - 4) / 15), 1);
    const answer = room >= 2 ? broken(`→ ${wordOf(o)}`) : [];
    const asked = [...broken(o.asked), `at ${nodeOf(o)}`].slice(0, Math.max(room - answer.length, 1));
    const top = Math.min(Math.max(y0, scroller.scrollTop + 42), y0 + Math.max(height - 15 * (asked.length + answer.length) - 6, 0));
    if (height >= 16) asked.forEach((text, i) => group.append(s("text", { x: x + 7, y: top + 14 + 15 * i }, cut(text, most))));
    answer.slice(0, Math.max(room - asked.length, 1)).forEach((text, i, all) =>
      group.append(s("text", { class: "answer", x: x + 7, y: y0 + height - 6 - 15 * (all.length - 1 - i) }, cut(text, most))));
  }

  // --- details ------------------------------------------------------------------------------------------------------
  let keptDetails = null;
  function listen(element, show, choose) {
    element.addEventListener("mouseenter", show);
    element.addEventListener("mouseleave", () => { if (keptDetails) keptDetails(); else details.hidden = true; });
    element.addEventListener("click", () => { keptDetails = show; show(); if (choose) choose(); });
  }
  function showDetails(title, rows) {
    details.hidden = false;
    const close = () => { keptDetails = null; state.chosen = null; state.operation = null; details.hidden = true; draw(); };
    details.replaceChildren(h("h4", {}, title), button("×", close, { class: "close", "aria-label": "close the details" }),
      h("dl", {}, rows.filter(([, text]) => text !== null && text !== undefined && text !== "").flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, String(text))])));
  }
  const FATES = { passed: "delivered", released: "released and delivered", duplicated: "a copy delivered", corrupted: "delivered corrupted",
    held: "held in the proxy", delayed: "delayed in the proxy", reordered: "kept in the proxy until others have passed", dropped: "dropped",
    discarded: "discarded while it was held", undeliverable: "undeliverable: the receiver was not connected, or its queue was full" };
  function showMessage(m) {
    showDetails(m.type, [["from", m.from], ["to", m.to], ["variable", m.variable], ...m.at.map(([t, fate]) => [seconds(t), FATES[fate] || fate]),
      ["by rule", m.rule], ["fields", m.text], ["line", `${m.i} of messages.jsonl`]]);
  }
  function showOperation(o) {
    showDetails(o.asked, [["client", o.process], ["variable", o.key], ["asked node", nodeOf(o)], ["at", seconds(o.t)], ["answer", wordOf(o)],
      ["answered by", o.by], ["after", o.t1 === null ? "" : `${((o.t1 - o.t) / 1000).toFixed(1)} ms`], ["error", o.error],
      ["witness of", o.witness.join(", ")], ["line", `${o.id} of history.jsonl`]]);
  }
  function showFault(f) {
    showDetails(f.name, [["nodes or links", f.what], ["from", seconds(f.t)], ["to", f.t1 === null ? "end of run" : seconds(f.t1)],
      ["receipt", f.bit ? "it bit: an observer saw an effect" : "no observer saw an effect"]]);
  }

  // --- tools --------------------------------------------------------------------------------------------------------
  const keepingTime = (change) => {
    const t = timeAt(scroller.scrollTop + 60);
    change(); layOut(); scroller.scrollTop = place(t) - 60; draw();
  };
  function goTo(t) { scroller.scrollTop = place(t) - 70; draw(); }
  function tools() {
    const tool = (text, pressed, act, title) => {
      const made = button(text, () => act(made), { "aria-pressed": pressed === null ? null : String(pressed), title });
      bar.append(made);
      return made;
    };
    const modes = [["one row per event", "even"], ["time to scale", "linear"]].map(([text, mode]) => {
      const made = tool(text, mode === state.mode, () => keepingTime(() => {
        state.mode = mode; modes.forEach((other) => other.setAttribute("aria-pressed", String(other === made)));
      }));
      made.classList.add("mode");
      return made;
    });
    tool("−", null, () => keepingTime(() => { state.zoom = Math.max(state.zoom / 1.5, 0.02); }), "zoom out");
    tool("+", null, () => keepingTime(() => { state.zoom = Math.min(state.zoom * 1.5, 4000); }), "zoom in");
    tool("labels", state.labels, (made) => { state.labels = !state.labels; made.setAttribute("aria-pressed", String(state.labels)); draw(); });
    if (variables.length > 1) {
      const select = h("select", { "aria-label": "variable", onchange: () => keepingTime(() => { state.variable = select.value; layOut(); drawLanes(); }) },
        h("option", { value: "" }, "all variables"), variables.map((name) => h("option", { value: name, selected: name === state.variable }, name)));
      bar.append(select);
    }
    const seen = operations.filter((o) => o.witness.length).sort((a, b) => a.t - b.t);
    if (seen.length) tool("next witness", null, () => {
      const after = seen.find((o) => o.t > timeAt(scroller.scrollTop + 72)) || seen[0];
      state.operation = after.id; keptDetails = () => showOperation(after); keptDetails(); goTo(after.t);
    });
    tool("save as SVG", null, () => saveSvg(canvas.querySelector("svg"), "diagram.svg"), "save the part of the diagram that is in view");
    if (faults.length) tool("next fault", null, () => goTo((faults.find((f) => f.t > timeAt(scroller.scrollTop + 72)) || faults[0]).t));
    bar.append(h("span", { class: "sep" }));
    const counts = new Map();
    for (const m of messages) counts.set(m.type, (counts.get(m.type) ?? 0) + 1);
    for (const [type, count] of counts) {
      const made = tool("", true, () => keepingTime(() => {
        if (!hidden.delete(type)) hidden.add(type);
        made.setAttribute("aria-pressed", String(!hidden.has(type)));
      }), `${count} on this page; click to hide or show`);
      made.append(h("span", { class: `swatch ${marks.ofType(type).css}` }), type);
    }
  }
  function chooseVariable() { // of several variables, show the one that the evidence names
    const keys = new Set(operations.filter((o) => o.witness.length).map((o) => o.key));
    if (keys.size === 1 && variables.length > 1) [state.variable] = keys;
  }
  function step(way) {
    const from = state.chosen ? state.shown.indexOf(state.chosen) : search(state.shown, (m) => m.t, timeAt(scroller.scrollTop + 60)) - (way > 0 ? 1 : 0);
    const next = state.shown[Math.min(Math.max(from + way, 0), state.shown.length - 1)];
    if (!next) return;
    state.chosen = next; keptDetails = () => showMessage(next); keptDetails();
    onTime(next.t);
    const y = place(next.t);
    if (y < scroller.scrollTop + 80 || y > scroller.scrollTop + scroller.clientHeight - 60) scroller.scrollTop = y - scroller.clientHeight / 3;
    draw();
  }

  chooseVariable(); layOut(); drawLanes(); tools();
  scroller.addEventListener("scroll", draw, { passive: true });
  scroller.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (way) { event.preventDefault(); step(way); }
  });
  window.addEventListener("resize", () => keepingTime(() => { measure(); drawLanes(); }));
  return {
    goTo,
    draw,
    get variable() { return state.variable; },
    // Draws the line of the time that the picture shows, and brings it into view if it is out of it.
    showNow(t) {
      state.now = t;
      const y = place(t);
      if (y < scroller.scrollTop + 60 || y > scroller.scrollTop + scroller.clientHeight - 40) scroller.scrollTop = y - scroller.clientHeight / 2;
      draw();
    },
    showOperation(id) {
      const found = operations.find((o) => o.id === id);
      if (found) { state.operation = id; keptDetails = () => showOperation(found); keptDetails(); }
      return found;
    },
  };
}
