// The WebSocket to the server: it brings events, and takes acts. If it is lost, it is opened again, and everything comes anew.

const AGAIN_MS = [200, 500, 1000, 2000, 4000];

export class Connection {
  // `take` gets each message of the server, `changed` whether there is a connection.
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
    this.socket.onclose = () => this.lost();
  }

  read(message) {
    if (message.m !== "reply") { this.take(message); return; }
    this.waiting.get(message.id)?.(message);
    this.waiting.delete(message.id);
  }

  lost() {
    for (const reply of this.waiting.values()) reply({ ok: false, text: "the connection was lost before the reply came" });
    this.waiting.clear();
    this.changed(false);
    setTimeout(() => this.open(), AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)]);
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
