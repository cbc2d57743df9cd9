#!/usr/bin/env python3
"""A node that speaks Maelstrom's protocol: a store of keys and values, and an echo.

The first node keeps the keys, in its memory. The others pass requests on to it. Test it under faults:

    consensus test ./NAME --workload lin-kv --nodes 3 --faults suspend,partition
    consensus test ./NAME --workload lin-kv --nodes 3 --faults kill

The second command finds that it forgets what it has acknowledged when it is killed. To mend that is up to you.
"""

import itertools
import json
import sys

me = {"id": "", "ids": []}
keys = {}
waiting = {}  # by the number of a request of ours: what to do with the answer
numbers = itertools.count(1)


def send(dest, body):
    """Send a message to a node or a client."""
    sys.stdout.write(json.dumps({"src": me["id"], "dest": dest, "body": body}) + "\n")
    sys.stdout.flush()


def reply(request, body):
    """Answer a request."""
    send(request["src"], {**body, "in_reply_to": request["body"]["msg_id"]})


def ask(dest, body, then):
    """Send a request to another node, and call `then` with the body of its answer, if one comes."""
    number = next(numbers)
    waiting[number] = then
    send(dest, {**body, "msg_id": number})


def init(request):
    """Take note of who this node is."""
    me["id"], me["ids"] = request["body"]["node_id"], request["body"]["node_ids"]
    reply(request, {"type": "init_ok"})


def echo(request):
    """Answer with what was sent."""
    reply(request, {"type": "echo_ok", "echo": request["body"]["echo"]})


def call(request):
    """Serve a call on a key here, or pass it on to the first node."""
    if me["id"] == me["ids"][0]:
        reply(request, apply(request["body"]))
    else:
        ask(me["ids"][0], request["body"], lambda answer: reply(request, answer))


def apply(body):
    """Carry out a call, and return the body of its answer."""
    key = body["key"]
    if body["type"] == "write":
        keys[key] = body["value"]
        return {"type": "write_ok"}
    if key not in keys:
        return {"type": "error", "code": 20, "text": "there is no such key"}
    if body["type"] == "read":
        return {"type": "read_ok", "value": keys[key]}
    if keys[key] != body["from"]:
        return {"type": "error", "code": 22, "text": f"the value is {keys[key]}"}
    keys[key] = body["to"]
    return {"type": "cas_ok"}


HANDLERS = {"init": init, "echo": echo, "read": call, "write": call, "cas": call}


def handle(message):
    """Handle one message: the answer to a request of ours, or a request."""
    body = message["body"]
    if "in_reply_to" in body:
        then = waiting.pop(body["in_reply_to"], None)  # None: an answer that came again
        if then:
            then(body)
    elif body["type"] in HANDLERS:
        HANDLERS[body["type"]](message)
    else:
        reply(message, {"type": "error", "code": 10, "text": f"this node does not know {body['type']}"})


if __name__ == "__main__":
    print("ready", file=sys.stderr)  # what is for people goes to standard error
    for line in sys.stdin:
        handle(json.loads(line))
