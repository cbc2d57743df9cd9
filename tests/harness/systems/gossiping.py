"""A node for the tests: it keeps a set (of messages, too) or a counter, and tells its peers what it has, over and over.

`gossiping.py set deaf` never listens to its peers, and `gossiping.py counter twice` counts what it hears again and again.
"""

import contextlib
import json
import sys
import threading
import time

KIND, HOW = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
lock = threading.Lock()
me, others = "", []
elements, counts = set(), {}


def send(dest, body):
    sys.stdout.write(json.dumps({"src": me, "dest": dest, "body": body}) + "\n")
    sys.stdout.flush()


def gossip():
    while True:
        time.sleep(0.05)
        with lock:
            for other in others:
                send(other, {"type": "gossip", "elements": sorted(elements), "counts": counts})


def answer(body):
    match body["type"]:
        case "echo":
            return {"echo": body["echo"]}
        case "broadcast":
            elements.add(body["message"])
        case "add" if "element" in body:
            elements.add(body["element"])
        case "add":
            counts[me] = counts.get(me, 0) + body["delta"]
        case "read":
            return {"messages": sorted(elements), "value": sorted(elements) if KIND == "set" else sum(counts.values())}
    return {}


def handle(line):
    global me, others
    message = json.loads(line)
    src, body = message["src"], message["body"]
    if body["type"] == "gossip":
        if HOW == "deaf":
            return
        elements.update(body["elements"])
        for node, count in body["counts"].items():
            counts[node] = counts.get(node, 0) + count if HOW == "twice" else max(count, counts.get(node, 0))
        return
    if body["type"] == "init":
        me, others = body["node_id"], [node for node in body["node_ids"] if node != body["node_id"]]
        threading.Thread(target=gossip, daemon=True).start()
    send(src, {"type": f"{body['type']}_ok", "in_reply_to": body["msg_id"], **answer(body)})


sys.stdin.reconfigure(errors="replace")
for line in sys.stdin:
    with lock, contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a fault may have changed a byte
        handle(line)
