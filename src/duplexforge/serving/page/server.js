/** The way to the server: questions over HTTP, and one conversation over a WebSocket. */
import { Trouble, ofClose, ofStatus } from "./trouble.js";

/** Seconds that the server has to let a conversation begin. */
const PATIENCE = 10;

/** Whether conversations may begin: the model is loaded, and the server is not stopping. */
export async function ready() {
  const answer = await request("readyz", "");
  return answer.ok;
}

/** The voices, emotions and controls that the server offers. Throws Trouble. */
export async function speakers(key) {
  const answer = await request("speakers", key);
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw ofStatus(answer.status, typeof said.error === "string" ? said.error : "");
  }
  return answer.json();
}

async function request(path, key) {
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    return await fetch(new URL(path, document.baseURI), { headers, cache: "no-store" });
  } catch {
    throw new Trouble("The server cannot be reached.", { again: true });
  }
}

/** One conversation. `told` gets each message as an object, `ended` the Trouble that ended it, once, if we did not. */
export class Line {
  constructor({ told, ended }) {
    this.told = told;
    this.ended = ended;
    this.number = 0;
  }

  /** Connect, and wait for the greeting, which is returned. Throws Trouble. */
  open(name, key) {
    return new Promise((resolve, reject) => {
      this.socket = dialled(name, key);
      const late = setTimeout(() => this.socket.close(), PATIENCE * 1000);
      let greeted = false;
      this.socket.onmessage = ({ data }) => {
        const message = understood(data);
        if (message && greeted) {
          // An answer to an older ping says nothing: the newer one's time counts.
          const trip = message.id === this.number ? performance.now() - this.asked : NaN;
          this.told(message.type === "pong" ? { ...message, trip } : message);
        } else if (message?.type === "metadata" && message.data.session) {
          greeted = true;
          clearTimeout(late);
          resolve(message.data);
        } else if (message?.type === "error") {
          this.refusal = message;
        }
      };
      this.socket.onclose = ({ code, reason }) => {
        clearTimeout(late);
        const trouble = ofClose(code, reason || this.refusal?.error || "");
        // Our own last connection may still be there, for as long as the server has not noticed that it is lost.
        trouble.again ||= this.refusal?.code === "in_use";
        if (greeted) {
          this.ended(trouble);
        } else {
          reject(trouble);
        }
      };
    });
  }

  /** Say something, if anybody is there. */
  say(message) {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(message));
    }
  }

  /** Ask whether the server is there; the answer {type: "pong"} gets `trip`, the milliseconds there and back. */
  ping() {
    this.number += 1;
    this.asked = performance.now();
    this.say({ type: "ping", id: this.number });
  }

  /** Bytes that still wait to be sent. */
  get unsent() {
    return this.socket?.bufferedAmount ?? 0;
  }

  /** Leave. */
  close() {
    if (this.socket) {
      this.socket.onclose = this.socket.onmessage = null;
      this.socket.close(1000);
    }
  }
}

function dialled(name, key) {
  const address = new URL(name ? `ws/${encodeURIComponent(name)}` : "ws", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  try {
    // A browser cannot set headers here, and an address with a key in it would be logged: it goes as a subprotocol.
    return new WebSocket(address, ["duplexforge", ...(key ? [`bearer.${key}`] : [])]);
  } catch {
    throw new Trouble("The key has characters in it that no key has.", { key: true });
  }
}

function understood(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
