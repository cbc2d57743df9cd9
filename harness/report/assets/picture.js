// The picture of a cluster at any moment, for ring.js, from what the events say of it. Nothing is run again.

export const OF_JUDGES = "afterwards"; // the variable that a script's end decides, for the judges alone
const CALLS_LOOKED_AT = 200;

// Returns the names of the nodes: those that the page is about, and those that have joined since.
export const namesOf = (store, about) => [...new Set([...about.nodes, ...store.nodes.keys()])];

// Returns the variables that the nodes have at time t. "" is for what is about none.
export const variablesAt = (store, names, t) => [...new Set(names.flatMap((name) => Object.keys(store.nodeAt(name, t)?.vars ?? {})))].filter(Boolean).sort();

// Returns the variable that the picture is about if the reader has chosen none: that of the last call.
export function variableAt(store, names, t) {
  const there = variablesAt(store, names, t);
  const called = store.callsAt(t, CALLS_LOOKED_AT).reverse().find((call) => there.includes(call.key) && call.key !== OF_JUDGES);
  return called?.key ?? names.map((name) => store.nodeAt(name, t)?.latest).find(Boolean) ?? "";
}

// Returns { nodes, cuts, slow, held } at time t, for one variable.
export function pictureAt(store, about, names, t, variable) {
  const faults = store.faultsAt(t), marked = faults.filter((fault) => fault.mark);
  const nodes = names.map((name) => {
    const node = nodeAt(store, about, name, t, variable);
    node.marks = [...new Set(marked.filter((fault) => fault.nodes.includes(name)).map((fault) => fault.mark))];
    node.told = toldOtherwise(store, node, variable, t);
    return node;
  });
  const held = store.waitingAt(t).filter((wait) => wait.fate === "held")
    .map(({ message: { i, from, to, type, label, value, text } }) => ({ i, index: i, rule: "", from, to, type, label, value, text }));
  const between = (name) => [...new Set(faults.flatMap((fault) => fault[name].map((link) => link.join(" "))))].filter((link) => !link.includes("client"));
  return { nodes, cuts: between("cut"), slow: between("disturbed"), held };
}

// Returns messages that wait as groups, in their order: the same message that was sent again on a link stands with the first.
export function sentAgain(messages) {
  const groups = new Map();
  for (const message of messages) {
    const { from, to, type, label, text, rule, ready } = message, key = JSON.stringify([from, to, type, label, text, rule, ready]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(message);
  }
  return [...groups.values()];
}

function nodeAt(store, about, name, t, variable) {
  const event = store.nodeAt(name, t);
  if (!event) return { name, state: "new", how: "not seen yet", facts: {} };
  const known = event.vars[about.keeps_log ? event.latest ?? "" : variable] ?? event.vars[""], first = event.state === "up" ? about.first_roles?.[name] : null;
  const facts = event.kept ? { ...first, ...known } : known ?? first ?? {};
  return { name, state: event.state, how: event.how, pid: event.pid, boots: event.boots, answers: event.answers, kept: event.kept, facts,
    ballot: facts.ballot && facts.ballot[0] ? facts.ballot.join("·") : "", refused: event.how.includes("see its log"),
    accepted: facts.accepted_value ?? (facts.accepted && store.proposed.get(`${variable} ${facts.accepted.join("·")}`)) };
}

// Returns what a node that is up has last answered, if it knew another decision itself when it was asked: it asked its leader.
export function toldOtherwise(store, { name, state, facts }, variable, t) {
  if (state !== "up" || !facts.decided) return null;
  const call = store.callsAt(t, 50).reverse().find((one) => one.by === name && one.key === variable && one.outcome === "ok" && one.t1 <= t);
  return call && call.answer.startsWith("'") && call.answer !== facts.decided && store.nodeAt(name, call.t)?.vars[variable]?.decided === facts.decided ? call.answer : null;
}
