// Holds the events of a run or of a cluster (harness/report/events.py), and answers how everything stood at a time. Times are in microseconds.
//
// Rules
// 1. Nothing is computed by running something again: a picture of the past is what the events say of it.
// 2. The number of messages is bounded. The oldest are forgotten, with a count.

const MESSAGES_MAX = 60000, STATES_MAX = 20000, CALLS_MAX = 12000;
const TURNS = new Set(["call", "fault", "predicate"]);
export const KEPT = new Set(["held", "delayed", "reordered"]);
// What changes all the time in a log that works.
const GROWTH = new Set(["t", "applied", "commit", "chain", "waiting", "holds"]);
const standing = (event) => JSON.stringify(event, (name, value) => (GROWTH.has(name) ? undefined : value));
const BALLOT = / (\d+·\S+)/;
export const LOST = new Set(["dropped", "discarded", "undeliverable"]);

// Returns the first place in `items` whose time is above `t`.
export function after(items, t) {
  let low = 0, high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle].t <= t) low = middle + 1; else high = middle;
  }
  return low;
}

// Returns the first place whose key is not below `wanted`, in items that stand in the order of their keys.
export function search(items, key, wanted) {
  let low = 0, high = items.length;
  while (low < high) { const mid = (low + high) >> 1; if (key(items[mid]) < wanted) low = mid + 1; else high = mid; }
  return low;
}

function insert(items, item) { // most items come in order
  let place = items.length;
  while (place > 0 && items[place - 1].t > item.t) place--;
  items.splice(place, 0, item);
}

export class Store {
  constructor() { this.clear(); }

  clear() {
    this.version = (this.version ?? 0) + 1;
    this.turns = (this.turns ?? 0) + 1; // how often more has changed than messages, and how far a log is
    this.nodes = new Map(); // by name: the events of a node, in the order of time
    this.messages = new Map(); // by number
    this.order = []; // messages by the time of their arrival
    this.steps = []; // each arrival and each later fate of a message
    this.waits = []; // the times in which a message waits in the proxy
    this.calls = new Map();
    this.callOrder = []; // calls by the time at which they began
    this.decided = []; // each time that a node got to know a decision
    this.faults = new Map();
    this.broken = new Map();
    this.proposed = new Map(); // the value that an Accept asks for, by its variable and ballot
    this.thinned = 0;
    this.first = null;
    this.last = 0;
  }

  add(events) {
    for (const event of events) {
      this[`add_${event.k}`]?.(event);
      if (TURNS.has(event.k)) this.turns++;
      const end = Math.max(event.t, event.t1 ?? event.t);
      if (this.first === null || event.t < this.first) this.first = event.t;
      if (end > this.last) this.last = end;
    }
    if (this.order.length > MESSAGES_MAX) this.forget(this.order.length - MESSAGES_MAX * 0.9);
    if (events.length) this.version++;
  }

  add_node(event) {
    if (!this.nodes.has(event.node)) this.nodes.set(event.node, []);
    const events = this.nodes.get(event.node), last = events.at(-1), before = last?.vars ?? {};
    if (!last || standing(last) !== standing(event)) this.turns++;
    for (const [variable, { decided }] of Object.entries(event.vars)) {
      if (decided && before[variable]?.decided !== decided) insert(this.decided, { t: event.t, node: event.node, variable, value: decided });
    }
    insert(events, event);
    if (events.length > STATES_MAX) events.splice(0, STATES_MAX / 10);
  }

  add_msg(event) {
    if (this.messages.has(event.i)) return;
    const message = { ...event, at: [] };
    this.messages.set(event.i, message);
    insert(this.order, message);
    const ballot = event.type === "Accept" && event.value && BALLOT.exec(event.label)?.[1];
    if (ballot) this.proposed.set(`${event.variable} ${ballot}`, event.value);
    this.step(message, event.t, event.fate, true);
  }

  add_fate(event) {
    const message = this.messages.get(event.of);
    if (message) this.step(message, event.t, event.fate, false);
  }

  step(message, t, fate, arrives) {
    message.at.push([t, fate]);
    insert(this.steps, { t, fate, message, arrives, waited: !arrives });
    if (KEPT.has(fate)) {
      message.wait = { t, end: Infinity, message, fate };
      this.waits.push(message.wait);
    } else if (message.wait && fate !== "duplicated") {
      message.wait.end = t;
    }
  }

  add_call(event) {
    const known = this.calls.get(event.id);
    if (known) { Object.assign(known, event); return; }
    const call = { ...event };
    this.calls.set(event.id, call);
    insert(this.callOrder, call);
    if (this.callOrder.length > CALLS_MAX) for (const old of this.callOrder.splice(0, CALLS_MAX / 10)) this.calls.delete(old.id);
  }
  add_fault(event) { if (event.gone) this.faults.delete(event.id); else this.faults.set(event.id, event); }
  add_predicate(event) { if (!this.broken.has(event.name)) this.broken.set(event.name, event); }
  add_thinned(event) { this.thinned += event.count; }

  forget(count) {
    for (const message of this.order.splice(0, Math.floor(count))) this.messages.delete(message.i);
    const begin = this.order[0]?.t ?? this.last;
    this.steps.splice(0, after(this.steps, begin - 1));
    this.waits = this.waits.filter((wait) => wait.end >= begin);
  }

  // --- how it stood ---------------------------------------------------------------------------------------------------

  nodeAt(node, t) {
    const events = this.nodes.get(node) ?? [];
    return events[Math.max(after(events, t) - 1, 0)] ?? null;
  }

  stepsBetween(t0, t1) { return this.steps.slice(after(this.steps, t0), after(this.steps, t1)); }
  waitingAt(t) { return this.waits.filter((wait) => wait.t <= t && t < wait.end); }
  faultsAt(t) { return [...this.faults.values()].filter((fault) => fault.t <= t && (fault.t1 === null || t < fault.t1)); }
  callsAt(t, most) { const end = after(this.callOrder, t); return this.callOrder.slice(Math.max(end - most, 0), end); }

  // Returns the directed links that are cut at a time, as a set of "n1 n2".
  cutsAt(t) {
    return new Set(this.faultsAt(t).flatMap((fault) => fault.cut.map((link) => link.join(" "))));
  }

  // Returns the times at which something of this kind happened, in order.
  moments(kind) {
    switch (kind) {
      case "message": return this.order.map((message) => message.t);
      case "fault": return sorted([...this.faults.values()].flatMap((fault) => [fault.t, fault.t1]));
      case "call": return sorted([...this.calls.values()].flatMap((call) => [call.t, call.t1]));
      default: return this.decided.map((decision) => decision.t);
    }
  }
}

const sorted = (times) => times.filter((t) => t !== null && t !== undefined).sort((a, b) => a - b);
