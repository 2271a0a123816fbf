// SPDX-License-Identifier: Apache-2.0
// The socket to the server: frames and states in, orders out, and whether it lives.

const LOST_MS = 1500;
const AGAIN_MS = 500;

export class Link {
  /** What is called: state(message), frame(camera, stamp, blob), answer(message), alive(boolean). */
  constructor(handlers) {
    this.handlers = handlers;
    this.heardAt = -Infinity;
    this.live = false;
    this.number = 0;
    this.waiting = new Map();
    this.connect();
    setInterval(() => this.look(), 200);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/socket`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ do: "join", key: sessionStorage.getItem("key") || "" }));
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.heardAt = -Infinity;
      this.look();
      setTimeout(() => this.connect(), AGAIN_MS);
    };
    this.socket = socket;
  }

  look() {
    const live = performance.now() - this.heardAt < LOST_MS;
    if (!live && this.socket.readyState === WebSocket.OPEN && performance.now() - this.heardAt > 3 * LOST_MS && this.heardAt > 0) {
      // Open, and nothing comes: a cut cable. A socket that is given up is not waited for.
      const old = this.socket;
      this.heardAt = -Infinity;
      this.connect();
      old.close();
    }
    if (live !== this.live) {
      this.live = live;
      this.handlers.alive(live);
    }
  }

  take(data) {
    this.heardAt = performance.now();
    if (data instanceof ArrayBuffer) {
      const header = new DataView(data, 0, 9);
      this.handlers.frame(header.getUint8(0), header.getFloat64(1, true), new Blob([data.slice(9)], { type: "image/jpeg" }));
      return;
    }
    const message = JSON.parse(data);
    if (message.t === "welcome") sessionStorage.setItem("key", message.key);
    if (message.t === "state") {
      this.socket.send(JSON.stringify({ do: "alive", n: message.n }));
      this.handlers.state(message);
    }
    if (message.t === "answer") {
      const done = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      this.handlers.answer(message);
      if (done) done(message);
    }
    this.look();
  }

  /** Give an order; the promise brings its answer. */
  order(what, more = {}) {
    return new Promise((done) => {
      if (this.socket.readyState !== WebSocket.OPEN) {
        const message = { do: what, ok: false, text: "not sent: the connection is lost" };
        this.handlers.answer(message);
        done(message);
        return;
      }
      this.number += 1;
      this.waiting.set(this.number, done);
      this.socket.send(JSON.stringify({ do: what, id: this.number, ...more }));
    });
  }
}
