#!/usr/bin/env node
// A node that speaks Maelstrom's protocol: a store of keys and values, and an echo.
//
// The first node keeps the keys, in its memory. The others pass requests on to it. Test it under faults:
//
//     consensus test ./NAME --workload lin-kv --nodes 3 --faults suspend,partition
//     consensus test ./NAME --workload lin-kv --nodes 3 --faults kill
//
// The second command finds that it forgets what it has acknowledged when it is killed. To mend that is up to you.
"use strict";

const keys = new Map();
const waiting = new Map(); // by the number of a request of ours: what to do with the answer
let id = "";
let ids = [];
let lastNumber = 0;

// Sends a message to a node or a client.
function send(dest, body) {
  process.stdout.write(JSON.stringify({ src: id, dest, body }) + "\n");
}

// Answers a request.
function reply(request, body) {
  send(request.src, { ...body, in_reply_to: request.body.msg_id });
}

// Sends a request to another node, and calls `then` with the body of its answer, if one comes.
function ask(dest, body, then) {
  lastNumber += 1;
  waiting.set(lastNumber, then);
  send(dest, { ...body, msg_id: lastNumber });
}

// Serves a call on a key here, or passes it on to the first node.
function call(request) {
  if (id === ids[0]) {
    reply(request, apply(request.body));
  } else {
    ask(ids[0], request.body, (answer) => reply(request, answer));
  }
}

// Carries out a call, and returns the body of its answer.
function apply(body) {
  const key = body.key;
  if (body.type === "write") {
    keys.set(key, body.value);
    return { type: "write_ok" };
  }
  if (!keys.has(key)) {
    return { type: "error", code: 20, text: "there is no such key" };
  }
  if (body.type === "read") {
    return { type: "read_ok", value: keys.get(key) };
  }
  if (keys.get(key) !== body.from) {
    return { type: "error", code: 22, text: `the value is ${keys.get(key)}` };
  }
  keys.set(key, body.to);
  return { type: "cas_ok" };
}

const handlers = {
  init(message) {
    id = message.body.node_id;
    ids = message.body.node_ids;
    reply(message, { type: "init_ok" });
  },
  echo: (request) => reply(request, { type: "echo_ok", echo: request.body.echo }),
  read: call,
  write: call,
  cas: call,
};

function handle(message) {
  const body = message.body;
  if (body.in_reply_to !== undefined) {
    const then = waiting.get(body.in_reply_to); // undefined: an answer that came again
    waiting.delete(body.in_reply_to);
    if (then) then(body);
  } else if (handlers[body.type]) {
    handlers[body.type](message);
  } else {
    reply(message, { type: "error", code: 10, text: `this node does not know ${body.type}` });
  }
}

console.error("ready"); // what is for people goes to standard error
require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => handle(JSON.parse(line)));
