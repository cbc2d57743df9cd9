// Turns the data of a run (harness/report/diagram.py) into objects that the drawings share. Times are in microseconds.
const LOST = new Set(["dropped", "discarded", "undeliverable"]);
const DELIVERED = new Set(["passed", "released", "duplicated", "corrupted"]);
const CLIENT_TYPES = new Set(["ProposeRequest", "QueryRequest", "Reply", "StatusRequest", "StatusReply"]);

export const seconds = (us) => `${(us / 1e6).toFixed(3)} s`;

// Returns the first place whose key is not below `wanted`, in items that stand in the order of their keys.
export function search(items, key, wanted) {
  let low = 0, high = items.length;
  while (low < high) { const mid = (low + high) >> 1; if (key(items[mid]) < wanted) low = mid + 1; else high = mid; }
  return low;
}

export function decodeRun(data) {
  const messages = data.messages.map((row) => {
    const [index, t, from, to, type, fate, variable, rule, text, brief, later] = row;
    const first = data.fates[fate];
    const steps = [[t, first], ...(later || []).map(([when, what]) => [when, data.fates[what]])];
    return { index, t, from, to, type, fate: first, variable, rule, text, brief, steps,
      deliveries: steps.filter(([, what]) => DELIVERED.has(what)), losses: steps.filter(([, what]) => LOST.has(what)),
      end: steps[steps.length - 1][0] };
  }).sort((a, b) => a.t - b.t || a.index - b.index);
  const colourOf = new Map();
  data.types.forEach((name, type) => { if (!CLIENT_TYPES.has(name)) colourOf.set(type, colourOf.size); });
  return { ...data, messages, first: data.span[0], last: data.span[1], byIndex: new Map(messages.map((m) => [m.index, m])),
    typeColour: (type) => colourOf.has(type) ? `var(--c${colourOf.get(type) % 8})` : "var(--quiet)",
    isOfClient: (m) => CLIENT_TYPES.has(data.types[m.type]) };
}
