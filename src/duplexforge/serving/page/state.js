/** The state of a conversation in words, and in one word for the colours. */

const CLOSED = {
  off: ["Not connected", "off"],
  opening: ["Connecting", "thinking"],
  again: ["Connection lost", "trouble"],
};

/** What is going on: [sentence, word]. `running`: something is being played; `due`: an answer is being made. */
export function inWords({ connection, running, ducked, speaking, due, muted }) {
  if (connection !== "open") {
    return CLOSED[connection];
  }
  if (running) {
    return [ducked ? "Answering softly: are you interrupting?" : "Answering", "answering"];
  }
  if (speaking) {
    return ["You are speaking", "speaking"];
  }
  if (due) {
    return ["Thinking", "thinking"];
  }
  return muted ? ["Muted: it hears silence", "off"] : ["Listening", "listening"];
}
