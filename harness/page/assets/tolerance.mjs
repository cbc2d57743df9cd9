// The mark of fault tolerance: whether enough nodes are up and connected that the cluster has to go on, and whether it does.
//
// Rules
// 1. It is the article's promise: with more than half of the nodes up and connected, a call is answered.
// 2. A call that had no answer breaks it only if nothing excuses that: no fault of links, clocks or disks was in force while it
//    waited, and more than half of the nodes, with the node that was asked, were up all the time. If such faults have ended
//    while it waited, that counts for the time since then, if it was long enough to send again.
// 3. It is for the eye. The verdict comes from the judges, at the end of the session; where it is there, it stands instead.

const JUDGED = { invalid: ["broken", "✗", "broken"], valid: ["kept", "✓", "kept"] };
const LOOKED_AT = 50, SENDS_AGAIN_US = 3500000;

// Returns the mark after the judges have decided about the whole run. `found` is what `tolerance` returns.
export function asJudged({ status, evidence }, { count }) {
  const [state, mark, word] = JUDGED[status] ?? ["nothing", "–", "not shown"];
  return { state, count, text: `${mark} fault tolerance: ${word}, say the judges; ${count}`, why: `the judges about the whole run: ${evidence}` };
}

// Returns { state: "kept", "broken" or "nothing", count, text, why } at a time.
export function tolerance(store, names, t) {
  const faults = store.faultsAt(t), cuts = store.cutsAt(t), most = Math.floor(names.length / 2) + 1;
  const up = names.filter((name) => store.nodeAt(name, t)?.state === "up");
  const group = largestGroup(up, cuts), count = `${up.length} of ${names.length} up`;
  const broken = lastBroken(store, names, most, t);
  if (group.length < most) {
    const few = up.length < most;
    return { state: "nothing", count, text: `– fault tolerance: ${few ? count : `${group.length} of ${names.length} connected`}`,
      why: `${few ? "no more than half of the nodes are up" : "no more than half of the nodes are connected with each other"}: no call has to be answered` };
  }
  if (broken && !broken.isExcused) return { state: "broken", count, text: `✗ fault tolerance: no answer to ${broken.asked}${broken.at ? ` at ${broken.at}` : ""}, given up at ${(broken.t1 / 1e6).toFixed(1)} s; ${count} now`, why: `more than half of the nodes were up and connected for the ${((broken.t1 - broken.since) / 1e6).toFixed(1)} s that this call waited${broken.since > broken.t ? " since the last fault of links, clocks or disks had ended" : ""}` };
  if (broken) return { state: "nothing", count, text: `– fault tolerance: ${count}, but the last call had no answer`, why: "a fault was in force while that call waited, which excuses it: another call would show whether calls are answered now" };
  const excused = faults.some((fault) => fault.disturbed.length) ? "; but links are disturbed" : "";
  return { state: "kept", count, text: `✓ fault tolerance: ${count}`, why: `more than half of the nodes are up and connected, so calls have to be answered${excused}` };
}

function largestGroup(up, cuts) {
  let largest = [];
  const left = [...up];
  while (left.length) {
    const group = [left.shift()];
    for (const member of group) for (const other of [...left]) {
      if (cuts.has(`${member} ${other}`) || cuts.has(`${other} ${member}`)) continue;
      group.push(other);
      left.splice(left.indexOf(other), 1);
    }
    if (group.length > largest.length) largest = group;
  }
  return largest;
}

// Returns the last call that had to be answered and was not, unless a later one was answered; if there is none, the last one that a
// fault excuses, as `isExcused`.
function lastBroken(store, names, most, t) {
  let excused = null;
  for (const call of store.callsAt(t, LOOKED_AT).reverse()) {
    if (call.t1 === null || call.t1 > t) continue;
    if (call.outcome === "ok") break;
    if (call.outcome !== "info") continue;
    const faults = [...store.faults.values()].filter((fault) => fault.t < call.t1 && (fault.t1 ?? Infinity) > call.t);
    const since = Math.max(call.t, ...faults.filter((fault) => fault.cut.length || fault.disturbed.length || fault.mark).map((fault) => fault.t1 ?? Infinity));
    const isShort = since > call.t && call.t1 - since < SENDS_AGAIN_US;
    const struck = new Set(faults.filter((fault) => (fault.t1 ?? Infinity) > since).flatMap((fault) => fault.nodes));
    if (!isShort && names.length - struck.size >= most && !struck.has(call.at)) return { ...call, since };
    excused ??= { ...call, isExcused: true };
  }
  return excused;
}
