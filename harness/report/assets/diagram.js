// Draws the space-time diagram. Time runs down; each node has a lane, and the clients have one. Only the part in view exists.
//
// Rules
// 1. Strings of a run become text nodes or attribute values, never markup.
// 2. `place(t)` turns microseconds into pixels. In the mode "even" each event that is shown has a row, and a pause has a height that
//    grows with its logarithm. In the mode "linear" time is to scale. Both are piecewise linear over `knots`.
// 3. Messages stand in the order of their times. Those that end far below their beginning stand in `long` as well.
import { cut, html, line, make, saveSvg } from "./svg.js";
import { search, seconds } from "./run_data.js";

// Draws `run` into the elements { scroller, canvas, lanes, details, tools, drawn }. `onTime(t)` is called with the time that is chosen.
export function createDiagram(run, { scroller, canvas, lanes, details, tools: bar, drawn: caption }, onTime) {
  const DRAWN_MAX = 2500, ROW = 17, SLOPE = 7, PAUSE_US = 60000;
  const { messages, operations, faults, typeColour } = run;
  const hidden = new Set();
  const state = { mode: "even", zoom: 1, labels: true, variable: -1, shown: [], long: [], operations, columns: 1, chosen: null, operation: null, now: null };

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
  const faultColumns = spread(faults, (f) => f.t0, (f) => f.t1 ?? last + 1);
  let geometry = null;
  function measure() {
    const opsW = Math.min(state.columns <= 3 ? 3 * 124 : 430, 0.3 * scroller.clientWidth);
    const faultsX = TIME_W, opsX = TIME_W + Math.min(faultColumns, 12) * GUTTER_W + 12;
    const clientX = opsX + opsW + 14;
    const rest = Math.max(scroller.clientWidth - clientX - 70, 0);
    const laneW = Math.max(64, Math.min(190, rest / Math.max(run.nodes.length, 1)));
    const x = (end) => end === 0 ? clientX : clientX + 64 + laneW * (run.nodes.indexOf(run.ends[end]) + 0.5);
    geometry = { opsW, faultsX, opsX, clientX, laneW, x, nodeX: (node) => x(run.ends.indexOf(node)),
      width: Math.max(clientX + 66 + laneW * run.nodes.length, scroller.clientWidth) };
  }

  let knots = [];
  function layOut() {
    state.shown = messages.filter((m) => !hidden.has(m.type) && (state.variable < 0 || m.variable === state.variable));
    state.operations = operations.filter((o) => state.variable < 0 || o.key === run.variables[state.variable]);
    state.columns = spread(state.operations, (o) => o.t0, (o) => (o.t1 ?? last) + 1);
    measure();
    const rows = new Set();
    for (const m of state.shown) for (const [t] of m.steps) rows.add(t);
    for (const o of state.operations) { rows.add(o.t0); if (o.t1 !== null) rows.add(o.t1); }
    for (const f of faults) { rows.add(f.t0); if (f.t1 !== null) rows.add(f.t1); }
    rows.add(run.first); rows.add(last);
    const times = [...rows].sort((a, b) => a - b);
    knots = [[times[0], 34]];
    const perUs = 260 / 1e6 * state.zoom;
    for (let i = 1; i < times.length; i++) {
      const gap = times[i] - times[i - 1], [, y] = knots[i - 1];
      const extra = gap > 4000 ? Math.min(13 * Math.log2(gap / 4000), 110) : 0;
      knots.push([times[i], state.mode === "even" ? y + (ROW + extra) * state.zoom : y + gap * perUs]);
    }
    state.long = state.shown.filter((m) => place(m.end) - place(m.t) > 200);
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

  // --- drawing ------------------------------------------------------------------------------------------------------
  function drawLanes() {
    lanes.replaceChildren();
    const head = (x, text) => { html("span", text, lanes).style.left = `${x}px`; };
    head(TIME_W / 2, "time");
    if (faults.length) head(geometry.faultsX + Math.min(faultColumns, 12) * GUTTER_W / 2 + 4, "faults");
    head((geometry.opsX + geometry.clientX) / 2 + (faults.length ? 12 : 0), "clients");
    for (const node of run.nodes) head(geometry.nodeX(node), node);
  }

  let pending = false;
  const draw = () => { if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; paint(); }); } };
  function paint() {
    const top = Math.max(scroller.scrollTop - 300, 0), bottom = scroller.scrollTop + scroller.clientHeight + 300;
    const svg = make("svg", { width: geometry.width, height: bottom - top, viewBox: `0 ${top} ${geometry.width} ${bottom - top}` });
    svg.style.top = `${top}px`;
    svg.setAttribute("class", "drawing");
    const view = { top, bottom, t0: timeAt(top), t1: timeAt(bottom) };
    drawFaultBands(svg, view);
    for (const node of run.nodes) line(svg, "lane", geometry.nodeX(node), top, geometry.nodeX(node), bottom);
    line(svg, "lane", geometry.clientX, top, geometry.clientX, bottom);
    drawTimes(svg, view);
    drawGutter(svg, view);
    const drawn = drawMessages(svg, view);
    drawOperations(svg, view);
    drawFaultEvents(svg, view);
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
          make("rect", { class: "pause", x: TIME_W, y: from, width: geometry.width - TIME_W, height, opacity: 0.55 }, svg);
          make("text", { class: "pause-text", x: geometry.clientX + 12, y: from + height / 2 + 5 }, svg, `${((t - knots[i - 1][0]) / 1e6).toFixed(2)} s without an event`);
        }
      }
      if (y - free >= 32) { make("text", { class: "tick", x: TIME_W - 10, y: y + 4, "text-anchor": "end" }, svg, `${(t / 1e6).toFixed(4)} s`); free = y; }
    }
  }

  function drawNow(svg, view) { // the time that the picture of the nodes shows
    if (state.now === null || state.now < view.t0 || state.now > view.t1) return;
    const y = place(state.now);
    line(svg, "now", TIME_W - 4, y, geometry.width, y);
    make("path", { class: "now-mark", d: `M${TIME_W - 16} ${y - 7}l12 7l-12 7Z` }, svg);
  }

  const inView = (item, view) => item.t0 <= view.t1 && (item.t1 ?? last) >= view.t0;
  const isDown = (f) => f.nodes.length > 0;
  const bounds = (f, view) => { const y0 = Math.max(place(f.t0), view.top), y1 = Math.min(place(f.t1 ?? last), view.bottom); return [y0, Math.max(y1 - y0, 3)]; };
  function drawFaultBands(svg, view) {
    for (const f of faults) {
      if (!inView(f, view)) continue;
      const [y, height] = bounds(f, view), w = geometry.laneW;
      f.groups.forEach((group, side) => {
        for (const node of group) make("rect", { class: `side-${side % 5}`, x: geometry.nodeX(node) - w / 2 + 1, y, width: w - 2, height }, svg);
      });
      for (const node of f.nodes) {
        const kind = f.mark ? "marked" : f.name === "suspend" || f.name === "starve" ? "frozen" : "dead";
        make("rect", { class: kind, x: geometry.nodeX(node) - w / 2 + 6, y, width: f.mark ? 4 : w - 12, height, rx: 4 }, svg);
        const text = f.mark ? f.mark : kind === "dead" ? (f.name === "kill" ? "killed" : f.name) : "suspended";
        for (let at = y + 18; at < y + height - 4; at += 260) make("text", { class: `${kind}-text`, x: geometry.nodeX(node) + 6, y: at }, svg, text);
      }
    }
  }
  function drawFaultEvents(svg, view) {
    const right = geometry.width - 30;
    const spots = [];
    for (const f of faults) {
      if (isDown(f)) continue;
      for (const [t, text] of [[f.t0, `${f.name}: ${f.what}`], [f.t1, `${f.name} heals`]]) {
        if (t === null || t < view.t0 || t > view.t1) continue;
        const y = place(t);
        line(svg, "event", geometry.faultsX, y, right, y);
        let x = geometry.clientX + 40;
        while (spots.some((s) => Math.abs(s[0] - y) < 15 && Math.abs(s[1] - x) < 260)) x += 270;
        spots.push([y, x]);
        make("text", { class: "event-text", x, y: y - 4 }, svg, text);
      }
    }
  }
  function drawGutter(svg, view) {
    for (const f of faults) {
      if (!inView(f, view) || f.column >= 12) continue;
      const [y, height] = bounds(f, view), x = geometry.faultsX + f.column * GUTTER_W + 3;
      const group = make("g", {}, svg);
      make("rect", { class: `gutter ${isDown(f) ? "node" : ""}`, x, y, width: GUTTER_W - 4, height, rx: 3 }, group);
      const text = `${f.name} ${f.what}`, room = Math.floor(height / 7);
      const seen = Math.max(y, scroller.scrollTop + 46);
      if (room > 5) make("text", { class: "gutter-text", transform: `translate(${x + 5} ${Math.min(seen + 6, y + height - 40)}) rotate(90)` }, group, text.length > room ? text.slice(0, room - 1) + "…" : text);
      listen(group, () => showFault(f));
    }
  }

  function drawMessages(svg, view) {
    const first = search(state.shown, (m) => m.t, view.t0);
    const end = search(state.shown, (m) => m.t, view.t1 + 1);
    const there = state.long.filter((m) => m.t < view.t0 && m.end >= view.t0).concat(state.shown.slice(first, end));
    const step = Math.max(1, Math.ceil(there.length / DRAWN_MAX));
    let count = 0;
    taken = new Map();
    const tight = there.length > 400 && (view.bottom - view.top) / there.length < 9;
    there.forEach((m, i) => { if (i % step === 0 || m === state.chosen) { drawMessage(svg, m, state.labels && !tight); count++; } });
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
  function drawMessage(svg, m, labels) {
    const colour = typeColour(m.type), x1 = geometry.x(m.from), x2 = geometry.x(m.to), y1 = place(m.t);
    const group = make("g", { class: m === state.chosen ? "chosen" : "" }, svg);
    const way = Math.sign(x2 - x1) || 1;
    const slope = state.mode === "even" ? SLOPE * Math.min(state.zoom, 1.6) : 5;
    const spots = []; // where its label may stand, the best first
    m.deliveries.forEach(([t, fate], copy) => {
      const y2 = place(t) + slope, waited = t > m.t;
      arrow(group, x1, y1 + copy * 3, x2, y2 + copy * 3, colour, waited ? "arrow waits" : "arrow plain", fate === "passed" || fate === "released" ? 1 : 1.6);
      if (fate === "corrupted") mark(group, (x1 + x2) / 2, (y1 + y2) / 2, "corrupted");
      spots.push([x2 - way * 13, y2 - 4, way > 0 ? "end" : "start"]);
    });
    m.losses.forEach(([t]) => {
      const xm = x1 + (x2 - x1) * (Math.abs(x2 - x1) < geometry.laneW * 1.5 ? 0.62 : 1 - geometry.laneW * 0.38 / Math.abs(x2 - x1)), ym = place(t) + slope * 0.8;
      make("line", { class: t > m.t ? "arrow waits" : "arrow plain", x1, y1, x2: xm, y2: ym, stroke: colour }, group);
      make("path", { class: "loss", d: `M${xm - 5} ${ym - 5}l10 10m0 -10l-10 10` }, group);
      spots.push([xm - way * 12, ym - 4, way > 0 ? "end" : "start"]);
    });
    if (!m.deliveries.length && !m.losses.length) {
      const xm = (x1 + x2) / 2;
      make("line", { class: "arrow waits", x1, y1, x2: xm, y2: y1 + slope, stroke: colour }, group);
      make("rect", { x: xm - 5, y: y1 + slope - 5, width: 10, height: 10, fill: "none", stroke: colour, "stroke-width": 2 }, group);
      spots.push([xm - way * 12, y1, way > 0 ? "end" : "start"]);
    }
    if (m.deliveries.length > 1) make("text", { class: "label", x: (x1 + x2) / 2, y: y1 + 14, style: `fill: ${colour}; font-weight: 700` }, group, `×${m.deliveries.length}`);
    if (labels && Math.abs(x2 - x1) > 50) label(group, m, spots.concat(besideSteep(m, x1, y1, x2, way, slope)), colour);
    const target = m.deliveries[0] || m.losses[0];
    make("line", { class: "hit", x1, y1, x2: target ? x2 : (x1 + x2) / 2, y2: (target ? place(target[0]) : y1) + slope }, group);
    make("circle", { cx: x1, cy: y1, r: 2.6, fill: colour }, group);
    listen(group, () => showMessage(m), () => { state.chosen = m; state.operation = null; onTime(m.t); draw(); });
  }
  // Where the label of a message that waited may stand, beside its long arrow: at its beginning, or at a point of it.
  function besideSteep(m, x1, y1, x2, way, slope) {
    const y2 = place(m.end) + slope;
    if (y2 - y1 < 3 * ROW) return [];
    const side = way > 0 ? "start" : "end";
    return [0.03, 0.2, 0.4, 0.6, 0.8].map((share) => [x1 + (x2 - x1) * share + way * 9, y1 + (y2 - y1) * share + 4, side]);
  }
  function label(group, m, spots, colour) {
    const width = run.texts[m.brief].length * 6.4;
    const top = scroller.scrollTop + 40, bottom = scroller.scrollTop + scroller.clientHeight;
    const seen = spots.filter(([, y]) => y > top && y < bottom); // a long arrow may end far below what is in view
    const at = m === state.chosen ? seen[0] || spots[0] : (seen.length ? seen : spots).find((spot) => isFree(spot, width));
    if (at) make("text", { class: "label", x: at[0], y: at[1], "text-anchor": at[2], style: `fill: ${colour}` }, group, run.texts[m.brief]);
  }
  function arrow(parent, x1, y1, x2, y2, colour, kind, weight) {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1, ux = (x2 - x1) / length, uy = (y2 - y1) / length;
    make("line", { class: kind, x1, y1, x2: x2 - ux * 7, y2: y2 - uy * 7, stroke: colour, "stroke-width": 2 * weight }, parent);
    const bx = x2 - ux * 10, by = y2 - uy * 10;
    make("path", { class: "head", fill: colour, d: `M${x2} ${y2}L${bx - uy * 4.6} ${by + ux * 4.6}L${bx + uy * 4.6} ${by - ux * 4.6}Z` }, parent);
  }
  function mark(parent, x, y, what) {
    make("circle", { cx: x, cy: y, r: 8, fill: "var(--bad)" }, parent);
    make("text", { x, y: y + 5, "text-anchor": "middle", "font-size": 13, "font-weight": 800, style: "fill: var(--panel)" }, parent, "!");
    make("title", {}, parent, what);
  }

  function drawOperations(svg, view) {
    const there = state.operations.filter((o) => inView(o, view));
    const step = Math.max(1, Math.ceil(there.length / DRAWN_MAX));
    const used = Math.max(1, ...there.map((o) => o.column + 1)); // so that bars are as wide as the calls in view allow
    const opW = Math.max(Math.min(124, geometry.opsW / used), 9);
    there.forEach((o, i) => {
      if (i % step && !o.witness.length) return;
      const x = geometry.opsX + o.column * opW;
      if (x + opW > geometry.clientX) return;
      const y0 = place(o.t0), height = Math.max(place(o.t1 ?? last) - y0, 5);
      const kind = `op ${o.outcome} ${o.colour || ""} ${o.witness.length ? "witness" : ""} ${o.id === state.operation ? "chosen" : ""}`;
      const group = make("g", { class: kind }, svg);
      make("rect", { x: x + 2, y: y0, width: opW - 4, height, rx: 4 }, group);
      make("title", {}, group, `${o.asked} at ${o.at} → ${o.answer}`);
      if (opW >= 64) writeInBox(group, o, x, y0, opW, height);
      else if (opW >= 15 && height >= 50) {
        const room = Math.floor((height - 12) / 7.2), words = [`${o.asked} at ${o.at} → ${o.answer}`, `${o.asked} → ${o.answer}`, o.asked];
        make("text", { transform: `translate(${x + opW / 2 - 4} ${Math.min(Math.max(y0, scroller.scrollTop + 42), y0 + height - 50) + 7}) rotate(90)` }, group,
          words.find((text) => text.length <= room) || cut(o.asked, room));
      }
      listen(group, () => showOperation(o), () => { state.operation = o.id; state.chosen = null; onTime(o.t0); draw(); });
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
    const answer = room >= 2 ? broken(`→ ${o.answer}`) : [];
    const asked = [...broken(o.asked), `at ${o.at}`].slice(0, Math.max(room - answer.length, 1));
    const top = Math.min(Math.max(y0, scroller.scrollTop + 42), y0 + Math.max(height - 15 * (asked.length + answer.length) - 6, 0));
    if (height >= 16) asked.forEach((text, i) => make("text", { x: x + 7, y: top + 14 + 15 * i }, group, cut(text, most)));
    answer.slice(0, Math.max(room - asked.length, 1)).forEach((text, i, all) =>
      make("text", { class: "answer", x: x + 7, y: y0 + height - 6 - 15 * (all.length - 1 - i) }, group, cut(text, most)));
  }

  // --- details ------------------------------------------------------------------------------------------------------
  let keptDetails = null;
  function listen(element, show, choose) {
    element.addEventListener("mouseenter", show);
    element.addEventListener("mouseleave", () => { if (keptDetails) keptDetails(); else details.hidden = true; });
    element.addEventListener("click", () => { keptDetails = show; show(); if (choose) choose(); });
  }
  function showDetails(title, rows) {
    details.replaceChildren();
    details.hidden = false;
    html("h4", title, details);
    const close = html("button", "×", details, "close");
    close.setAttribute("aria-label", "close the details");
    close.addEventListener("click", () => { keptDetails = null; state.chosen = null; state.operation = null; details.hidden = true; draw(); });
    const list = html("dl", null, details);
    for (const [name, text] of rows) if (text !== null && text !== "" && text !== undefined) { html("dt", name, list); html("dd", String(text), list); }
  }
  const FATES = { passed: "delivered", released: "released and delivered", duplicated: "a copy delivered", corrupted: "delivered corrupted",
    held: "held in the proxy", delayed: "delayed in the proxy", reordered: "kept in the proxy until others have passed", dropped: "dropped",
    discarded: "discarded while it was held", undeliverable: "undeliverable: the receiver was not connected, or its queue was full" };
  function showMessage(m) {
    showDetails(run.types[m.type], [["from", run.ends[m.from]], ["to", run.ends[m.to]], ["variable", run.variables[m.variable]],
      ...m.steps.map(([t, fate]) => [seconds(t), FATES[fate] || fate]), ["by rule", run.rules[m.rule]],
      ["fields", run.texts[m.text]], ["line", `${m.index} of messages.jsonl`]]);
  }
  function showOperation(o) {
    showDetails(o.asked, [["client", o.process], ["variable", o.key], ["asked node", o.at], ["at", seconds(o.t0)], ["answer", o.answer],
      ["answered by", o.by], ["after", o.t1 === null ? "" : `${((o.t1 - o.t0) / 1000).toFixed(1)} ms`], ["error", o.error],
      ["witness of", o.witness.join(", ")], ["line", `${o.id} of history.jsonl`]]);
  }
  function showFault(f) {
    showDetails(f.name, [["nodes or links", f.what], ["from", seconds(f.t0)], ["to", f.t1 === null ? "end of run" : seconds(f.t1)],
      ["receipt", f.bit ? "it bit: an observer saw an effect" : "no observer saw an effect"]]);
  }

  // --- tools --------------------------------------------------------------------------------------------------------
  const keepingTime = (change) => {
    const t = timeAt(scroller.scrollTop + 60);
    change(); layOut(); scroller.scrollTop = place(t) - 60; draw();
  };
  function goTo(t) { scroller.scrollTop = place(t) - 70; draw(); }
  function tools() {
    const button = (text, pressed, act, title) => {
      const made = html("button", text, bar);
      if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
      if (title) made.title = title;
      made.addEventListener("click", () => act(made));
      return made;
    };
    const modes = [["one row per event", "even"], ["time to scale", "linear"]].map(([text, mode]) => {
      const made = button(text, mode === state.mode, () => keepingTime(() => {
        state.mode = mode; modes.forEach((other) => other.setAttribute("aria-pressed", String(other === made)));
      }));
      made.classList.add("mode");
      return made;
    });
    button("−", null, () => keepingTime(() => { state.zoom = Math.max(state.zoom / 1.5, 0.02); }), "zoom out");
    button("+", null, () => keepingTime(() => { state.zoom = Math.min(state.zoom * 1.5, 4000); }), "zoom in");
    button("labels", state.labels, (made) => { state.labels = !state.labels; made.setAttribute("aria-pressed", String(state.labels)); draw(); });
    if (run.variables.filter(Boolean).length > 1) {
      const select = html("select", null, bar);
      select.setAttribute("aria-label", "variable");
      html("option", "all variables", select).value = "-1";
      run.variables.forEach((name, number) => { if (name) html("option", name, select).value = String(number); });
      select.value = String(state.variable);
      select.addEventListener("change", () => keepingTime(() => { state.variable = Number(select.value); layOut(); drawLanes(); }));
    }
    const marks = operations.filter((o) => o.witness.length).sort((a, b) => a.t0 - b.t0);
    if (marks.length) button("next witness", null, () => {
      const after = marks.find((o) => o.t0 > timeAt(scroller.scrollTop + 72)) || marks[0];
      state.operation = after.id; keptDetails = () => showOperation(after); keptDetails(); goTo(after.t0);
    });
    button("save as SVG", null, () => saveSvg(canvas.querySelector("svg"), "diagram.svg"), "save the part of the diagram that is in view");
    if (faults.length) button("next fault", null, () => goTo((faults.find((f) => f.t0 > timeAt(scroller.scrollTop + 72)) || faults[0]).t0));
    html("span", null, bar, "sep");
    const counts = new Map();
    for (const m of messages) counts.set(m.type, (counts.get(m.type) || 0) + 1);
    for (const [type, count] of counts) {
      const made = button("", true, () => keepingTime(() => {
        if (!hidden.delete(type)) hidden.add(type);
        made.setAttribute("aria-pressed", String(!hidden.has(type)));
      }), `${count} on this page; click to hide or show`);
      html("span", null, made, "swatch").style.background = typeColour(type);
      html("span", run.types[type], made);
    }
  }
  function chooseVariable() { // of several variables, show the one that the evidence names
    const about = new Set(operations.filter((o) => o.witness.length).map((o) => o.key));
    if (about.size === 1 && run.variables.filter(Boolean).length > 1) state.variable = run.variables.indexOf([...about][0]);
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
