// The panels of the virtual twin: what could happen next, what can still be decided, the branches, and the schedule so far.

import { button, h, plural, s } from "./dom.js";
import { valueMark } from "./marks.js";

const GROUPS = [["timers", ["timer", "own"], true], ["nodes that crash, boot or lose their disks", ["crash", "boot", "lose disk"], false],
  ["clients that stop waiting", ["give up"], false], ["messages that come once more", ["repeat"], false]];
const CAN = { yes: "✓", no: "✗", unknown: "?" };
const ROW = 22, EDGE = 12, WIDE = 336;

export class TwinPanels {
  // `panels` does the acts; `holding` is its section of messages, below which the other steps that are possible are listed.
  constructor(panels) {
    this.panels = panels;
    this.shown = {};
    this.open = new Set(GROUPS.filter(([, , isOpen]) => isOpen).map(([title]) => title));
    this.others = panels.holding.appendChild(h("div", { id: "others" }));
    this.outlook = h("section", { id: "outlook" });
    this.branches = h("section", { id: "branches" });
    this.schedule = h("section", { id: "schedule" });
    panels.holding.before(this.branches);
    panels.holding.after(this.schedule);
    if (!panels.about.keeps_log) panels.holding.after(this.outlook); // a log decides without end
    this.drawFrames();
  }

  drawFrames() {
    this.boots = h("input", { type: "checkbox", id: "may-boot" });
    this.crashes = h("select", { id: "may-crash", "aria-label": "how many nodes may crash" }, [0, 1, 2].map((number) => h("option", { value: number }, `${number || "no"} ${number === 1 ? "crash" : "crashes"}`)));
    this.ask = button("Look ahead", () => this.do("ask", { boots: this.boots.checked, crashes: Number(this.crashes.value) }, this.askNote), { id: "look-ahead", class: "main", title: "search every order of what may follow" });
    this.askNote = note();
    this.answers = h("div", { id: "answers", "aria-live": "polite" });
    this.outlook.append(h("h2", {}, "Can it still decide?"), h("div", { class: "acts" }, this.ask, h("label", { class: "check" }, this.boots, " nodes that are down may boot"), this.crashes), this.askNote, this.answers);

    this.back = button("◀ Back", () => this.do("back", {}, this.branchNote), { id: "back", title: "take the last step back: the key B", "aria-keyshortcuts": "b" });
    this.forward = button("Forward ▶", () => this.do("forward", {}, this.branchNote), { id: "forward", title: "go on as before" });
    this.where = h("span", { id: "where" });
    this.branchNote = note();
    this.steps = h("ol", { class: "story" });
    this.soFar = h("details", { id: "so-far" }, h("summary", {}, "the steps so far: click one to go back to it"), this.steps);
    this.tree = s("svg", { id: "tree", role: "group", "aria-label": "Branches: each point is a position to go to" });
    this.branches.append(h("h2", {}, "Branches"), h("div", { class: "acts" }, this.back, this.forward, this.where), h("div", { class: "tree" }, this.tree), this.soFar, this.branchNote);

    this.keepNote = note();
    this.compared = h("div", { id: "compared", "aria-live": "polite" });
    this.replay = button("Run on real processes", () => this.do("replay", {}, this.keepNote), { id: "replay", class: "main", title: "the same steps on stepped nodes: SIGKILL, real disks and sockets" });
    this.schedule.append(h("h2", {}, "This schedule"), h("div", { class: "acts" }, this.replay,
      button("Save", () => this.do("save", {}, this.keepNote), { id: "save", title: "to a file that consensus replay and consensus live take" }),
      button("Keep as a test", () => this.do("keep_test", {}, this.keepNote), { id: "keep-test", title: "a pytest file that asserts its verdict" })), this.keepNote, this.compared);
  }

  do(name, args, where) { return this.panels.do(name, args, where); }

  take(twin) {
    this.changed("next", [twin.next, twin.count], () => this.drawOthers(twin));
    this.changed("chances", [twin.chances, twin.searching, twin.position], () => this.drawChances(twin));
    this.changed("tree", [twin.tree, twin.depth, twin.forward, twin.now_s], () => this.drawTree(twin));
    this.changed("kept", [twin.kept, twin.position], () => this.drawKept(twin.kept));
  }

  changed(name, data, draw) {
    const key = JSON.stringify(data);
    if (this.shown[name] !== key) { this.shown[name] = key; draw(); }
  }

  // --- what could happen next ---------------------------------------------------------------------------------------------

  drawOthers(twin) {
    this.panels.holding.querySelector("h2").textContent = `What could happen next (${twin.count})`;
    this.others.replaceChildren(...GROUPS.map(([title, kinds]) => {
      const steps = twin.next.filter((step) => kinds.includes(step.kind));
      if (!steps.length) return "";
      const group = h("details", { open: this.open.has(title) }, h("summary", {}, `${title} (${steps.length})`),
        h("ol", {}, steps.map((step) => h("li", {}, button(step.text, () => this.do("take", { step: step.step }, this.panels.holdNote), { class: "step", "data-step": step.step, "data-kind": step.kind })))));
      group.addEventListener("toggle", () => { if (group.open) this.open.add(title); else this.open.delete(title); });
      return group;
    }));
  }

  // --- what can still be decided ------------------------------------------------------------------------------------------

  drawChances({ chances, searching }) {
    this.ask.disabled = searching;
    if (searching) { this.answers.replaceChildren(h("p", { class: "note" }, "searching …")); return; }
    if (!chances) { this.answers.replaceChildren(); return; }
    const possible = chances.values.filter((one) => one.can === "yes").length;
    this.answers.replaceChildren(...chances.values.map((one) => {
      const mark = valueMark(one.value), go = one.story.length ? button("Go there", () => this.do("follow", { value: one.value }, this.askNote), { "data-follow": one.value }) : null;
      return h("div", { class: `chance ${one.can}`, "data-value": one.value, "data-can": one.can },
        h("p", {}, h("b", { class: `value ${mark.css}` }, `${mark.glyph} ${mark.name}`), ` ${CAN[one.can]} ${one.text}`, go),
        one.story.length ? h("details", { open: one.story.length < 6 }, h("summary", {}, `the schedule, found in ${plural(one.states, "state")}`), h("ol", { class: "story" }, one.story.map((line) => h("li", {}, line)))) : null);
    }), possible > 1 ? h("p", { id: "bivalent" }, "Bivalent: more than one value can still be decided.") : "",
    ...chances.limits.map((line) => h("p", { class: "note" }, line)));
  }

  // --- branches -----------------------------------------------------------------------------------------------------------

  drawTree(twin) {
    this.back.disabled = !twin.depth;
    this.forward.disabled = !twin.forward;
    this.steps.start = twin.so_far[0]?.step ?? 1;
    this.steps.replaceChildren(...twin.so_far.map((one) => h("li", {}, button(one.text, () => this.do("go_to_step", { step: one.step }, this.branchNote), { class: "step", "data-depth": one.step }))));
    this.where.textContent = `step ${twin.depth}, ${twin.now_s} s of virtual time`;
    const rows = new Map(), depth = Math.max(...twin.tree.map((point) => point.depth), 1), marks = [], lines = [], ends = [];
    const x = (point) => EDGE + point.depth / depth * (WIDE - 2 * EDGE), places = new Map();
    for (const point of twin.tree) {
      const above = places.get(point.parent);
      const row = !above ? 0 : rows.get(point.parent) ? ends.length : above.row; // the first to follow stays in the row
      rows.set(point.parent, true);
      if (row === ends.length) ends.push(0);
      const place = { row, x: x(point), y: row * ROW + EDGE };
      places.set(point.position, place);
      if (above) lines.push(s("path", { class: point.passed ? "edge passed" : "edge", d: `M${above.x} ${above.y}C${above.x + 8} ${place.y} ${above.x} ${place.y} ${Math.min(above.x + 14, place.x)} ${place.y}H${place.x}` }));
      marks.push(this.point(point, place));
    }
    const high = ends.length * ROW + 4;
    this.tree.setAttribute("viewBox", `0 0 ${WIDE} ${high}`);
    this.tree.style.height = `${high}px`;
    const focused = document.activeElement?.dataset?.position;
    this.tree.replaceChildren(...lines, ...marks);
    if (focused) this.tree.querySelector(`[data-position="${CSS.escape(focused)}"]`)?.focus();
  }

  point(point, { x, y }) {
    const values = point.decided.map((value) => valueMark(value)), last = values.at(-1), go = () => this.do("go", { position: point.position }, this.branchNote);
    const text = `step ${point.depth}: ${point.text}${point.decided.length ? `; decided: ${point.decided.join(", ")}` : ""}${point.broken.length ? `; broken: ${point.broken.join(", ")}` : ""}`;
    return s("g", { class: `point ${point.here ? "here" : ""} ${point.broken.length ? "broken" : ""}`, role: "button", tabindex: 0, "aria-label": text, "aria-current": point.here ? "step" : null,
      "data-position": point.position, "data-depth": point.depth, transform: `translate(${x} ${y})`, onclick: go,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); } } },
    s("title", {}, text), s("circle", { class: "hit", r: 11 }), s("circle", { class: `dot ${last?.css ?? ""}`, r: point.here ? 8 : 6 }),
    point.broken.length ? s("path", { class: "cross", d: "M-5 -5L5 5M5 -5L-5 5" }) : last ? s("text", { y: 4 }, last.glyph) : null);
  }

  // --- the schedule -------------------------------------------------------------------------------------------------------

  drawKept(kept) {
    const replay = kept?.replay;
    this.replay.disabled = Boolean(replay?.running);
    if (!replay) { this.compared.replaceChildren(kept?.folder ? h("p", { class: "note" }, `in ${kept.folder}`) : ""); return; }
    if (replay.running) { this.compared.replaceChildren(h("p", { class: "note" }, "real processes take the same steps …")); return; }
    const side = (title, status, evidence) => h("div", { class: `verdict ${status}`, "data-side": title }, h("h3", {}, title), h("p", {}, h("b", {}, `${{ valid: "✓", invalid: "✗" }[status] ?? "?"} ${status}`)), evidence.map((line) => h("p", {}, line)));
    this.compared.replaceChildren(h("p", { class: replay.same ? "same" : "differs", id: "comparison" }, `${replay.same ? "✓ the same verdict" : "✗ the verdicts differ"}: ${replay.followed}`),
      h("div", { class: "both" }, side("in the twin", replay.twin, replay.twin_evidence), side("on real processes", replay.real, replay.real_evidence)),
      h("p", { class: "note" }, `run ${replay.run}, ${replay.took_s.toFixed(1)} s. `, h("a", { href: "report", target: "_blank", rel: "noopener" }, "its report")));
  }
}

const note = () => h("p", { class: "note", "aria-live": "polite" });
