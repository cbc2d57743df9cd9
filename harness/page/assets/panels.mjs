// The panels beside the picture: what is selected with its acts, the messages that are held, the faults in force, what was done.

import { button, coded, h, plural } from "./dom.js";
import { valueMark } from "./marks.js";
import { sentAgain } from "./picture.js";

const UNDER_WAY_AFTER_MS = 100, CALL_S = 5, DONE_MAX = 30, HELD_SHOWN_MAX = 60;
const VIRTUAL_TITLES = { kill: "it loses all but what is on its disk", suspend: "it does nothing, and its messages wait", resume: "it goes on" };
const NODE_ACTS = [
  ["kill", "Kill", "SIGKILL", (node) => ["kill", { nodes: node }]],
  ["suspend", "Suspend", "SIGSTOP: it neither runs nor knows it", (node) => ["suspend", { nodes: node }]],
  ["resume", "Resume", "SIGCONT", (node) => ["resume", { nodes: node }]],
  ["restart", "Restart", "start it on the same disk", (node) => ["restart", { nodes: node }]],
  ["isolate", "Isolate", "cut it from every other node", (node) => ["isolate", { node }]],
  ["reset", "Reset its links", "each connection with another node is reset, and each new one", (node) => ["inject", { fault: "reset", arguments: { groups: [[node]] } }]],
  ["power-cut", "Cut its power", "kill it; writes that were not synced are lost", (node) => ["inject", { fault: "power-cut", arguments: { node } }]],
  ["delete-directory", "Lose its disk", "kill it, remove its directory, and start it", (node) => ["inject", { fault: "delete-directory", arguments: { node } }]],
  ["tick", "Let 1 s pass", "its clock jumps, so its timers run out: for use while clocks stand still", (node) => ["inject", { fault: "clock-jump", arguments: { node, seconds: "1" } }]],
];
const VIRTUAL_ACTS = [...NODE_ACTS.slice(0, 5).map(([id, text, title, make]) => [id, text, VIRTUAL_TITLES[id] ?? title, make]),
  ["lose-disk", "Lose its disk", "it crashes, and its disk is gone", (node) => ["lose_disk", { nodes: node }]]];
// The states of a node's process in which an act can do nothing.
const CANNOT = { kill: ["down"], suspend: ["down", "suspended"], resume: ["down", "up"] };
const LINK_ACTS = [
  ["cut-both", "Cut both ways", (one, other) => ["cut", { links: [[one, other]], one_way: false }]],
  ["cut-one", "Cut → only", (one, other) => ["cut", { links: [[one, other]], one_way: true }]],
  ["hold", "Hold", (one, other) => ["inject", { fault: "hold", arguments: { links: [[one, other], [other, one]] } }]],
  ["delay", "Delay 0.5 s", (one, other) => ["inject", { fault: "delay", arguments: { links: [[one, other], [other, one]], seconds: "0.5" } }]],
  ["drop", "Drop half", (one, other) => ["inject", { fault: "drop", arguments: { links: [[one, other], [other, one]], probability: "0.5" } }]],
  ["duplicate", "Send twice", (one, other) => ["inject", { fault: "duplicate", arguments: { links: [[one, other], [other, one]], probability: "1" } }]],
];

export class Panels {
  // `act(name, arguments)` returns a promise of the reply; `pending(node, text)` marks a node while an act on it is under way.
  constructor(parent, about, act, pending) {
    Object.assign(this, { about, act, pending });
    this.nodes = [...about.nodes];
    this.selection = null;
    this.stand = {};
    this.shown = {};
    this.inputs = { name: about.keeps_log ? "owner" : "colour", value: "blue", within: String(CALL_S) };
    this.selected = parent.appendChild(h("section", { id: "selected" }));
    this.canAct = about.live && !about.read_only;
    if (!about.live) parent.appendChild(this.verdicts());
    if (!this.canAct || about.tour) return;
    this.holding = parent.appendChild(h("section", { id: "holding" }));
    this.force = parent.appendChild(h("section", { id: "force" }));
    this.done = h("ol", { id: "done", "aria-label": "What was done", "aria-live": "polite" });
    parent.appendChild(h("section", {}, h("h2", {}, "Done"), this.done));
    this.drawHoldingFrame();
  }

  // Whether the server takes an act: at a challenge of the tour it takes a few.
  takes(act) { return (act !== "reset" || Boolean(this.about.streams)) && (!this.about.acts || this.about.acts.includes(act)); }

  // Does an act, says beside it what came of it, and notes it in the list of what was done.
  async do(name, args, note, { node = null, doing = null } = {}) {
    if (this.about.read_only) { say(note, false, "this page is only to be read"); return { ok: false }; }
    if (node && doing) this.pending(node, doing);
    const waits = begin(note), reply = await this.act(name, args);
    clearTimeout(waits);
    if (node && doing) this.pending(node, null);
    this.tell(reply, note);
    return reply;
  }

  // Does an act for each of these arguments, and says once what came of all: `text`, or why some were refused.
  async doAll(name, every, text, note) {
    if (this.about.read_only) { say(note, false, "this page is only to be read"); return; }
    const waits = begin(note), refused = [];
    for (const args of every) { const reply = await this.act(name, args); if (!reply.ok) refused.push(reply.text); }
    clearTimeout(waits);
    this.tell(refused.length ? { ok: false, text: `${every.length - refused.length} of ${every.length}: ${refused.join("; ")}` } : { ok: true, text }, note);
  }

  tell({ ok, text }, note) {
    forget();
    say(note, ok, text);
    this.done?.prepend(h("li", { class: ok ? "" : "refused" }, `${ok || text.startsWith("unknown: ") ? "" : "refused: "}${text}`));
    while (this.done?.children.length > DONE_MAX) this.done.lastChild.remove();
  }

  // Says what came here of an act in the other frame, if two pages stand side by side.
  takeBeside(reply, note) {
    const key = JSON.stringify(reply ?? null), isFirst = this.shown.beside === undefined;
    if (this.shown.beside === key) return;
    this.shown.beside = key;
    if (reply && !isFirst) this.tell(reply, note);
  }

  // --- what is selected ---------------------------------------------------------------------------------------------------

  select(selection) {
    this.selection = selection;
    this.shown.facts = null;
    this.drawSelected();
    this.selected.querySelector("h2")?.focus({ preventScroll: true });
  }

  drawSelected() {
    const { selection } = this;
    const title = !selection ? (this.canAct && !this.about.tour ? "A call" : "") : selection.node ?? `${selection.from} — ${selection.to}`;
    const parts = [];
    const past = this.canAct && !this.about.virtual ? h("small", { class: "past", role: "status" }, "acts happen in the present") : null;
    if (title) parts.push(h("h2", { tabindex: -1 }, title, past, selection ? button("×", () => this.on_close(), { class: "close", "aria-label": "close" }) : null));
    this.facts = h("dl", { class: "facts" });
    if (this.canAct && title) {
      this.note = h("p", { class: "note", "aria-live": "polite" });
      if (selection?.from) parts.push(this.linkActs(selection));
      if (selection?.node) parts.push(this.nodeActs(selection.node), this.linksOf(selection.node));
      if (!selection?.from) parts.push(this.about.system ? this.systemForm(selection?.node ?? "") : this.about.keeps_log ? this.logForm(selection?.node) : this.callForm(selection?.node ?? ""));
      parts.push(this.note);
    }
    if (selection?.node) parts.push(this.facts); // last, since its height changes: a second click must not meet another button
    this.selected.replaceChildren(...parts.filter(Boolean));
  }

  nodeActs(node) {
    return h("div", { class: "acts" }, (this.about.virtual ? VIRTUAL_ACTS : NODE_ACTS).filter(([id]) => this.takes(id)).map(([id, text, title, make]) => button(text, () => {
      const doing = { restart: "booting", kill: null, "delete-directory": "booting" }[id] ?? null;
      this.do(...make(node), this.note, { node, doing });
    }, { title, "data-act": id })));
  }

  // The links of a node as buttons, for those who use the keyboard: they do what a click on the link does.
  linksOf(node) {
    if (!LINK_ACTS.some(([id]) => this.takes(id))) return null;
    return h("div", { class: "links" }, "link to", this.nodes.filter((other) => other !== node).map((other) => button(other, () => this.on_link(node, other), { "data-link": other, title: `the link between ${node} and ${other}` })));
  }

  linkActs({ from, to }) {
    return h("div", { class: "acts" }, LINK_ACTS.filter(([id]) => this.takes(id)).map(([id, text, make]) => button(text.replace("→", `${from} → ${to}`),
      () => this.do(...make(from, to), this.note), { "data-act": id })),
    this.takes("cut-back") ? button(`Cut ${to} → ${from} only`, () => this.do("cut", { links: [[to, from]], one_way: true }, this.note), { "data-act": "cut-back" }) : null);
  }

  field(name, label) {
    const value = name === "value" ? { placeholder: "a word, or JSON", title: "a word such as blue, or JSON: 7, true, \"7\", [1, 2], {\"a\": 1}" } : {};
    return h("label", {}, label, h("input", { ...value, id: `field-${name}`, value: this.inputs[name], autocomplete: "off", spellcheck: "false",
      oninput: (event) => { this.inputs[name] = event.target.value; } }));
  }

  // Does a call. The server refuses a time that is out of its range; what is no number at all cannot be sent to it.
  call(f, args) {
    const text = this.inputs.within.trim(), timeout_s = this.about.virtual ? CALL_S : Number(text);
    if (text && Number.isFinite(timeout_s)) return this.do(f, { ...args, timeout_s }, this.note);
    const reply = { ok: false, text: `the timeout is ${text || "empty"}: give a number of seconds above 0` };
    this.tell(reply, this.note);
    return Promise.resolve(reply);
  }

  callForm(node) {
    const at = h("select", { id: "field-at" }, h("option", { value: "" }, "any node"), this.nodes.map((name) => h("option", { value: name, selected: name === node }, name)));
    const call = (f) => (event) => {
      event?.preventDefault();
      const args = { name: this.inputs.name, at: at.value };
      this.call(f, f === "propose" ? { ...args, value: this.inputs.value } : args);
    };
    const chips = h("div", { class: "chips" }, ["blue", "red", "green"].map((value) => button(`${valueMark(value).glyph} ${value}`, () => {
      this.inputs.value = value;
      this.selected.querySelector("#field-value").value = value;
    }, { class: `value ${valueMark(value).css}`, "data-value": value })));
    return h("form", { onsubmit: call("propose") }, h("div", { class: "fields" }, this.about.virtual ? null : this.field("name", "variable"), this.field("value", "value"), h("label", {}, "at", at), this.about.virtual ? null : this.field("within", "within (s)")),
      chips, h("div", { class: "acts" }, h("button", { type: "submit", "data-act": "propose", class: "main" }, "Propose"),
        button("Query", call("query"), { "data-act": "query" }),
        button("Query all", () => this.nodes.forEach((name) => this.call("query", { name: this.inputs.name, at: name })), { "data-act": "query-all" })));
  }

  // The calls that the clients of a system that is not ours can make.
  systemForm(node) {
    const { functions, workload, asks } = this.about;
    if (!functions.length) return h("p", { class: "hint" }, `Calls of the workload ${workload} cannot be made one by one${asks ? "; its clients ask by themselves" : ". Clients ask if it was started with --workload"}.`);
    const at = h("select", { id: "field-at" }, h("option", { value: "" }, "any node"), this.nodes.map((name) => h("option", { value: name, selected: name === node }, name)));
    const call = (f) => () => this.call("call", { f, key: this.inputs.name, value: this.inputs.value, at: at.value });
    return h("div", {}, h("div", { class: "fields" }, this.field("name", "key"), this.field("value", "value"), h("label", {}, "at", at), this.field("within", "within (s)")),
      h("div", { class: "acts" }, functions.map((f) => button(f[0].toUpperCase() + f.slice(1), call(f), { "data-act": f }))));
  }

  logForm() {
    this.inputs.owner ??= "alice";
    this.inputs.token ??= "";
    const call = (f, make) => button({ put: "Put", get: "Get", delete: "Delete", acquire: "Lock", release: "Unlock" }[f], () => this.call(f, make()).then((reply) => {
      const token = f === "acquire" && reply.ok ? /: (\d+)$/.exec(reply.text) : null;
      if (token) { this.inputs.token = token[1]; const field = this.selected.querySelector("#field-token"); if (field) field.value = token[1]; }
    }), { "data-act": f });
    return h("div", {}, h("div", { class: "fields" }, this.field("name", "key or lock"), this.field("value", "value")),
      h("div", { class: "acts" }, call("put", () => ({ key: this.inputs.name, value: this.inputs.value })), call("get", () => ({ key: this.inputs.name })),
        this.about.virtual ? null : call("delete", () => ({ key: this.inputs.name }))),
      ...this.about.virtual ? [] : [h("div", { class: "fields" }, this.field("owner", "owner"), this.field("token", "token"), this.field("within", "within (s)")),
      h("div", { class: "acts" }, call("acquire", () => ({ name: this.inputs.name, owner: this.inputs.owner })),
        call("release", () => ({ name: this.inputs.name, token: Number(this.inputs.token) || 0 })))]);
  }

  // `node` is as the picture shows it, `now` as it is in the present, on which the buttons act.
  drawFacts(node, now) {
    if (!this.selection?.node || !node) return;
    for (const act of this.about.virtual ? [] : this.selected.querySelectorAll("[data-act]")) act.disabled = CANNOT[act.dataset.act]?.includes(now.state) ?? false;
    const facts = node.facts ?? {};
    const rows = [["state", [node.how, ...node.marks].join(", ")], ["on its disk", node.kept && Object.keys(facts).length && "what follows, as it last said"], ["process", node.pid && `pid ${node.pid}, incarnation ${node.boots}`], ["role", facts.role],
      ["ballot", node.ballot], ["accepted", facts.accepted && facts.accepted.join("·")], ["decided", facts.decided], ["answers", node.told && `${node.told}, as another node knows it: see "decided" for what it knows itself`], ["vote", facts.vote],
      ["votes it knows", facts.votes && Object.entries(facts.votes).map(([voter, vote]) => `${voter} ${vote}`).join(", ")],
      ["log", facts.applied !== undefined && `${facts.applied} of ${facts.commit} slots applied`],
      ["holds", facts.holds && Object.entries(facts.holds).map(([what, count]) => `${count} ${what}`).join(", ")],
      ["waiting clients", facts.waiting || null]].filter(([, text]) => text);
    const key = JSON.stringify(rows);
    if (this.shown.facts === key) return;
    this.shown.facts = key;
    this.facts.replaceChildren(...rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, String(text))]));
  }

  // --- messages that are held ---------------------------------------------------------------------------------------------

  drawHoldingFrame() {
    const type = h("select", { "aria-label": "which messages", id: "hold-type" }, h("option", { value: "" }, "all messages"), this.about.types.map((name) => h("option", { value: name }, name)));
    this.holdNote = h("p", { class: "note", "aria-live": "polite" });
    this.heldList = h("ol", { id: "held", "aria-label": "Messages that are held" });
    this.heldTitle = h("h3", {});
    if (this.about.virtual) { this.holding.append(h("h2", {}, "What could happen next"), this.virtualActs(), this.holdNote, this.heldTitle, this.heldList); return; }
    const hold = () => this.do("inject", { fault: "hold", arguments: { links: "nodes", types: type.value } }, this.holdNote);
    this.holding.append(h("h2", {}, "Hold and step"),
      h("div", { class: "acts" }, button("Hold", hold, { id: "hold", title: "keep the messages between nodes until you deliver them" }), type,
        button("Stop the clocks", () => this.stopClocks(), { id: "stop-clocks", title: "no timer of a node runs out" }),
        button("Let all go", () => this.letGo(), { id: "let-go", title: "deliver what is held, and let the clocks run" }),
        button("Next message", () => this.next(), { id: "next-message", title: "deliver the oldest message that is held: the key N", "aria-keyshortcuts": "n" })),
      this.holdNote, this.heldTitle, this.heldList);
  }

  virtualActs() {
    const seconds = h("input", { id: "pass-seconds", "aria-label": "seconds of virtual time", value: "0.2", inputmode: "decimal" });
    return h("div", { class: "acts" }, button("Next message", () => this.next(), { id: "next-message", title: "deliver the oldest message: the key N", "aria-keyshortcuts": "n" }),
      button("Deliver all", () => this.do("deliver_all", {}, this.holdNote), { id: "deliver-all", title: "deliver what is on its way, and what follows" }),
      h("span", { class: "pass" }, button("Let time pass", () => this.do("pass", { seconds: Number(seconds.value) || 0 }, this.holdNote), { id: "pass", title: "messages travel and timers run out, in virtual time" }), seconds, " s"));
  }

  async stopClocks() {
    await this.doAll("inject", this.nodes.map((node) => ({ fault: "clock-skew", arguments: { node, rate: 0 } })), "all clocks stopped", this.holdNote);
  }

  async letGo() {
    const steps = this.stand.in_force.filter(isStep).reverse(), clocks = steps.filter(isClock), holds = steps.filter((fault) => !isClock(fault));
    // First what is held: a clock that runs makes nodes send again, and all of that would be held, too.
    if (holds.length) await this.doAll("end", holds.map(({ number }) => ({ number })), "what was held is delivered", this.holdNote);
    if (clocks.length) await this.endClocks(clocks, this.holdNote);
  }

  endClocks(clocks, note) { return this.doAll("end", clocks.map(({ number }) => ({ number })), "clocks run again", note); }

  next() {
    const first = this.stand.held?.find((message) => message.ready ?? true);
    if (first) this.deliver(first);
  }

  deliver(message, how = "deliver") { return this.onHeld(how, [message]); }
  onHeld(how, messages) { return this.do(how, { rule: messages[0].rule, indices: messages.map(({ index }) => index) }, this.holdNote); }

  // --- how it stands ------------------------------------------------------------------------------------------------------

  take(stand) {
    this.stand = stand;
    if (!this.holding) return;
    const held = JSON.stringify([stand.held, stand.held_count]);
    if (this.shown.held !== held) { this.shown.held = held; this.drawHeld(); }
    const force = JSON.stringify(stand.in_force);
    if (this.shown.force !== force) { this.shown.force = force; this.drawForce(); }
  }

  drawHeld() {
    const { held, held_count: count } = this.stand;
    this.heldTitle.textContent = count ? `${plural(count, "message")} ${this.about.virtual ? "on the way" : "held"}` : "";
    const groups = sentAgain(held).slice(0, HELD_SHOWN_MAX), more = count - groups.flat().length;
    this.heldList.replaceChildren(...groups.map((again) => this.heldRow(again)), ...(more > 0 ? [h("li", {}, `and ${more} more`)] : []));
  }

  // A message that is held, with how often it was sent: its buttons take one of these, or all.
  heldRow(again) {
    const [message] = again, often = again.length, cannot = message.ready === false, named = (act) => ({ "aria-label": `${act} ${message.label} from ${message.from} to ${message.to}` });
    return h("li", { "data-from": message.from, "data-to": message.to, "data-type": message.type, "data-count": often },
      h("span", { class: `held-label ${message.value ? `value ${valueMark(message.value).css}` : ""}`, title: message.text }, message.label), often > 1 ? h("b", { title: "so often it was sent" }, `×${often}`) : null,
      h("span", { class: "way" }, `${message.from} → ${message.to}`),
      button("deliver", () => this.deliver(message), { "data-act": "deliver", disabled: cannot, ...named("deliver") }), button("drop", () => this.deliver(message, "lose"), { "data-act": "lose", ...named("drop") }),
      button("copy", () => this.deliver(message, "repeat"), { title: "deliver a copy, and hold it still", "data-act": "repeat", ...named("deliver a copy of") }),
      often > 1 ? h("span", { class: "all" }, button(`deliver all ${often}`, () => this.onHeld("deliver", again), { "data-act": "deliver-all", disabled: cannot, ...named(`deliver all ${often}`) }),
        button(`drop all ${often}`, () => this.onHeld("lose", again), { "data-act": "lose-all", ...named(`drop all ${often}`) })) : null);
  }

  drawForce() {
    const faults = this.stand.in_force;
    const clocks = faults.filter(isClock), others = faults.filter((fault) => !isClock(fault));
    const rows = others.map((fault) => h("li", {}, h("span", { title: argumentsOf(fault, this.nodes.length) }, `${fault.fault} ${argumentsOf(fault, this.nodes.length)}`),
      button("end", () => this.do("end", { number: fault.number }, this.forceNote), { "data-act": "end", "aria-label": `end ${fault.fault} ${argumentsOf(fault, this.nodes.length)}` })));
    if (clocks.length) rows.push(h("li", {}, `${plural(clocks.length, "clock")} steered`, button("end", () => this.endClocks(clocks, this.forceNote), { "aria-label": "let the clocks run" })));
    this.forceNote = h("p", { class: "note", "aria-live": "polite" });
    this.force.replaceChildren(h("h2", {}, "In force", button("Heal all", () => this.do("heal", {}, this.forceNote), { id: "heal", disabled: !faults.length })),
      h("ol", { class: "force" }, rows.length ? rows : h("li", { class: "none" }, "no fault of links, clocks or disks")), this.forceNote);
  }

  // Where the run in the other frame parts from this one.
  differences() {
    const { differences, beside } = this.about;
    if (!differences) return null;
    return h("div", { id: "differences" }, h("h2", {}, "First differences"), h("ol", {}, differences.length ? differences.map((one) => h("li", {},
      button(`in ${one.kind}`, () => this.on_difference(one), { "data-difference": one.kind, title: "go there, in both" }), h("span", {}, ` ${one.where}:`),
      h("p", {}, h("b", {}, "here "), one.here), h("p", {}, h("b", {}, "there "), one.there))) : h("li", {}, `none: ${beside} has the same faults, calls, decisions and messages`)));
  }

  verdicts() {
    const { verdicts, gaps } = this.about;
    const rows = Object.entries(verdicts).map(([name, { status, evidence }]) => h("li", { class: status }, h("b", {}, `${{ valid: "✓", invalid: "✗" }[status] ?? "?"} ${name}`), h("p", {}, evidence)));
    return h("section", { id: "verdicts" }, this.differences(), h("h2", {}, "Verdicts"), h("ol", {}, rows.length ? rows : h("li", {}, "this run was not judged")),
      gaps.map((gap) => h("p", { class: "note" }, gap)),
      h("p", { class: "note" }, "A record has no statuses of nodes: how each stands follows from the messages that it sent, and from the receipts of faults."));
  }
}

const isClock = (fault) => fault.fault === "clock-skew";
const isStep = (fault) => fault.fault === "hold" || (isClock(fault) && fault.arguments.rate === 0);
const argumentsOf = (fault, count) => Object.entries(fault.arguments).filter(([, value]) => value !== "").map(([name, value]) => {
  if (name === "links" && (value === "nodes" || value?.length === count * (count - 1))) return "every link between nodes";
  if (name === "links" && Array.isArray(value)) return value.map((link) => link.join("→")).join(" ");
  if (name === "groups" && Array.isArray(value)) return value.map((group) => [group].flat().join(", ")).join(" | ");
  return `${name} ${typeof value === "string" ? value : Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join(", ") : JSON.stringify(value)}`;
}).join(", ").slice(0, 120);

// Shows after a while that an act is under way. Most acts are done by then, and the browser need not lay out and paint for that, which
// would hold up the picture of what they did. Returns the timer.
function begin(note) {
  return setTimeout(() => { forget(); say(note, null, "…"); }, UNDER_WAY_AFTER_MS);
}

// Takes away what was said of earlier acts.
function forget() {
  for (const said of document.querySelectorAll(".note.good, .note.bad")) say(said, null, "");
}

function say(note, ok, text) {
  if (!note) return;
  note.className = `note ${ok === null ? "" : ok ? "good" : "bad"}`;
  note.replaceChildren(...(ok === false ? coded(text) : [text]));
}
