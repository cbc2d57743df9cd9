// Holds the events, and answers how everything stood at a time. Times are in microseconds.
//
// Rules
// 1. Nothing is computed by running something again: a picture of the past is what the events say of it.
// 2. The number of messages is bounded. The oldest are forgotten, with a count.

const MESSAGES_MAX = 60000;
const KEPT = new Set(["held", "delayed", "reordered"]);
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

function insert(items, item) { // most items come in order
  let place = items.length;
  while (place > 0 && items[place - 1].t > item.t) place--;
  items.splice(place, 0, item);
}

export class Store {
  constructor() { this.clear(); }

  clear() {
    this.version = (this.version ?? 0) + 1;
    this.nodes = new Map(); // by name: the events of a node, in the order of time
    this.messages = new Map(); // by number
    this.order = []; // messages by the time of their arrival
    this.steps = []; // each arrival and each later fate of a message
    this.waits = []; // the times in which a message waits in the proxy
    this.calls = new Map();
    this.faults = new Map();
    this.broken = new Map();
    this.thinned = 0;
    this.first = null;
    this.last = 0;
  }

  add(events) {
    for (const event of events) {
      this[`add_${event.k}`]?.(event);
      const end = Math.max(event.t, event.t1 ?? event.t);
      if (this.first === null || event.t < this.first) this.first = event.t;
      if (end > this.last) this.last = end;
    }
    if (this.order.length > MESSAGES_MAX) this.forget(this.order.length - MESSAGES_MAX * 0.9);
    if (events.length) this.version++;
  }

  add_node(event) {
    if (!this.nodes.has(event.node)) this.nodes.set(event.node, []);
    insert(this.nodes.get(event.node), event);
  }

  add_msg(event) {
    if (this.messages.has(event.i)) return;
    const message = { ...event, at: [] };
    this.messages.set(event.i, message);
    insert(this.order, message);
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

  add_call(event) { this.calls.set(event.id, event); }
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
  callsAt(t, most) { return [...this.calls.values()].filter((call) => call.t <= t).sort((a, b) => b.t - a.t).slice(0, most); }

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
      default: return this.decisions().map((decision) => decision.t);
    }
  }

  decisions() {
    const found = [];
    for (const [node, events] of this.nodes) {
      const known = new Map();
      for (const event of events) for (const [variable, facts] of Object.entries(event.vars)) {
        if (facts.decided && known.get(variable) !== facts.decided) found.push({ t: event.t, node, variable, value: facts.decided });
        if (facts.decided) known.set(variable, facts.decided);
      }
    }
    return found.sort((a, b) => a.t - b.t);
  }
}

const sorted = (times) => times.filter((t) => t !== null && t !== undefined).sort((a, b) => a - b);
