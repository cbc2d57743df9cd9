// The picture of a recorded run at any moment, for ring.js, from the record alone: nothing runs again.
//
// Rules
// 1. What a node holds is what the record shows until then: it changes when the message arrives at the proxy that shows the change.
// 2. What stands on a disk outlives a kill; a role does not.
import { search } from "./run_data.js";

const FROZEN = new Set(["suspend", "starve"]);

// Returns the state of each node for one variable: { role, ballot, holds, decided, log } by the node's place.
export function statesAt(run, t, variable) {
  const states = run.nodes.map(() => ({ role: "", ballot: "", holds: null, decided: null, log: "" }));
  const colours = run.colours;
  for (const [when, node, about, field, text, colour] of run.changes) {
    if (when > t) break;
    if (about >= 0 && variable >= 0 && about !== variable) continue;
    const value = field === "holds" || field === "decided";
    states[node][field] = value ? { text: run.texts[text], colour: colour < 0 ? null : colours[colour] } : run.texts[text];
  }
  return states;
}

// Returns the faults that are in force.
export const faultsAt = (run, t) => run.faults.filter((f) => f.t0 <= t && (f.t1 === null || f.t1 > t));

// Returns the picture at time t. `reach` is how long before and after its arrival at the proxy a message is drawn, in microseconds.
export function pictureAt(run, t, reach, variable) {
  const inForce = faultsAt(run, t);
  const states = statesAt(run, t, variable);
  const nodes = run.nodes.map((id, i) => {
    const fault = inForce.filter((f) => f.nodes.includes(id) && !f.mark).pop(); // with a mark, its process goes on
    const state = !fault ? "up" : FROZEN.has(fault.name) ? "suspended" : "down";
    const why = !fault ? "" : state === "suspended" ? "suspended" : fault.name === "kill" ? "killed" : fault.name;
    const { role, ...rest } = states[i];
    return { id, state, why, role: state === "down" ? "" : role, ...rest, holdsWord: run.holdsWord, doing: "" };
  });
  const links = (name) => inForce.flatMap((f) => f[name].map(([from, to]) => [run.ends[from], run.ends[to]]));
  return { nodes, cuts: links("cut"), slow: links("disturbed"), packets: packetsAt(run, t, reach, variable) };
}

const RARE = 60; // more messages at once than this are not drawn: nobody could tell them apart

function packetsAt(run, t, reach, variable) {
  const moving = [], kept = new Map();
  const first = search(run.messages, (m) => m.t, t - reach), end = search(run.messages, (m) => m.t, t + reach + 1);
  const wanted = (m) => variable < 0 || m.variable === variable || !run.variables[m.variable];
  for (const m of run.messages.slice(first, end)) if (wanted(m) && (m.deliveries[0]?.[0] === m.t || m.losses[0]?.[0] === m.t)) moving.push(packet(run, m, m.t, t, reach));
  for (const m of run.waiting) {
    if (m.t > t) break;
    if (!wanted(m)) continue;
    if (m.end <= t && t - m.end < reach) moving.push(packet(run, m, m.end, t, reach));
    else if (m.end > t || m.steps.length === 1) {
      const key = `${m.from}>${m.to}`, there = kept.get(key);
      if (there) there.count++; else kept.set(key, { ...packet(run, m, m.t, t, 0), share: 0.5, fate: "waiting", count: 1 });
    }
  }
  return [...kept.values(), ...moving.slice(0, RARE)];
}

// A message on its way. It is at the proxy, in the middle of its link, at the time that the record has for it.
function packet(run, m, at, t, reach) {
  const isLost = m.losses.some(([when]) => when === at) && !m.deliveries.some(([when]) => when === at);
  const share = reach ? Math.min(Math.max(0.5 + (t - at) / (2 * reach), 0), 1) : 0.5;
  return { from: run.ends[m.from], to: run.ends[m.to], share: isLost ? Math.min(share, 0.5) : share, text: run.texts[m.brief],
    fate: isLost ? "lost" : m.deliveries.length > 1 ? "copy" : "moving", colour: run.typeColour(m.type), count: 1 };
}

// Returns the client calls that are under way at t, and those that ended at most `ago` before, the newest last.
export function callsAt(run, t, ago) {
  return run.operations.filter((o) => o.t0 <= t && (o.t1 === null || o.t1 > t - ago)).slice(-8);
}
