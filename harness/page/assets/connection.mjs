// The WebSocket to the server: it brings events, and takes acts. If it is lost, it is opened again, and everything comes anew.
// A server that ends says so by the code of its closing, or does not come back: then it is not looked for any more.

const AGAIN_MS = [200, 500, 1000, 2000, 4000], TRIES_MAX = 12, SERVER_ENDS = 1012;

export class Connection {
  // `take` gets each message of the server, `changed` whether there is a connection, and whether there will be none any more.
  constructor(take, changed) {
    this.take = take;
    this.changed = changed;
    this.tries = 0;
    this.number = 0;
    this.waiting = new Map();
    this.open();
  }

  open() {
    const address = new URL("live", location.href);
    address.protocol = "ws:";
    this.socket = new WebSocket(address);
    this.socket.onopen = () => { this.tries = 0; this.changed(true); };
    this.socket.onmessage = (event) => this.read(JSON.parse(event.data));
    this.socket.onclose = (event) => this.lost(event.code);
  }

  read(message) {
    if (message.m !== "reply") { this.take(message); return; }
    this.waiting.get(message.id)?.(message);
    this.waiting.delete(message.id);
  }

  lost(code) {
    for (const reply of this.waiting.values()) reply({ ok: false, text: "unknown: the connection was lost before the reply came, so it may have been done" });
    this.waiting.clear();
    const hasEnded = code === SERVER_ENDS || this.tries >= TRIES_MAX;
    this.changed(false, hasEnded);
    if (!hasEnded) setTimeout(() => this.open(), AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)]);
  }

  // Asks the server to act. The promise gets the reply: whether it was done, and a sentence.
  act(act, args) {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.resolve({ ok: false, text: "there is no connection to the server" });
    const id = ++this.number;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.socket.send(JSON.stringify({ id, act, arguments: args }));
    });
  }
}
