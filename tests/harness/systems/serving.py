"""A node for the tests that serves clients alone: `serving.py [FLAW]`. With a flaw it does not keep its promise."""

import itertools
import json
import sys

FLAW = sys.argv[1] if len(sys.argv) > 1 else ""
numbers = itertools.count(1)
state, logs, committed = {}, {}, {}


def transact(steps):
    answers = []
    for f, key, value in steps:
        if f == "append":
            state[key] = [*state.get(key, []), value]
        elif f == "w":
            state[key] = value
        elif FLAW == "stale" and next(numbers) % 3 == 0:
            answers.append([f, key, None])  # as if nobody had written yet
            continue
        answers.append([f, key, state.get(key) if f == "r" else value])
    return answers


def answer(body):
    match body["type"]:
        case "generate":
            return {"id": next(numbers) % 20 if FLAW == "again" else next(numbers)}
        case "txn":
            return {"txn": transact(body["txn"])}
        case "send":
            log = logs.setdefault(body["key"], [])
            log.append([len(log), body["msg"]])
            return {"offset": len(log) - 1}
        case "poll":
            asked = {
                key: [one for one in logs.get(key, []) if one[0] >= first] for key, first in body["offsets"].items()
            }
            if FLAW == "skips":
                asked = {key: [one for one in log if one[0] % 3 != 1] for key, log in asked.items()}
            return {"msgs": {key: log[:5] for key, log in asked.items() if log}}
        case "commit_offsets":
            committed.update(body["offsets"])
        case "list_committed_offsets":
            return {"offsets": {key: committed[key] for key in body["keys"] if key in committed}}
    return {}


me = ""
for line in sys.stdin:
    message = json.loads(line)
    body = message["body"]
    me = body.get("node_id", me)
    reply = {"type": f"{body['type']}_ok", "in_reply_to": body["msg_id"], **answer(body)}
    sys.stdout.write(json.dumps({"src": me, "dest": message["src"], "body": reply}) + "\n")
    sys.stdout.flush()
