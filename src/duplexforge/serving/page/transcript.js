/** Who said what, in order. Everything that the server says is put in as text, never as markup. */

/** Entries that are kept. */
const MOST = 200;

const BROKEN = {
  voice: "You broke it off by speaking",
  client: "You interrupted it",
  turn: "A new answer took its place",
};

/** A list of turns; `nothing` is shown while it is empty. */
export class Transcript {
  constructor(list, nothing) {
    this.list = list;
    this.nothing = nothing;
    this.answers = new Map();
    this.mine = null;
  }

  /** A new connection: what comes is not what was before. */
  begin() {
    this.answers.clear();
    this.mine = null;
  }

  /** The user begins to speak. */
  turn() {
    this.mine = this.entry("you", "You");
    this.mine.note.textContent = "speaking";
  }

  /** They have spoken for so long. */
  turnOver(seconds) {
    if (this.mine) {
      this.mine.note.textContent = `spoke for ${seconds.toFixed(1)} s`;
    }
  }

  /** Answer `epoch` begins. */
  answer(epoch) {
    const entry = this.entry("answer", "Answer");
    entry.item.dataset.epoch = epoch;
    entry.note.textContent = "…";
    this.answers.set(epoch, entry);
    // A screen reader is told the answer once it is whole, not word by word into its sound.
    this.list.setAttribute("aria-busy", "true");
  }

  /** A piece of its text. */
  words(epoch, text) {
    const entry = this.answers.get(epoch);
    if (entry) {
      entry.text.append(text);
      this.follow();
    }
  }

  /** It is over: whole, or broken off `by` somebody after so many `seconds`, of which `text` was heard. */
  answerOver(epoch, { text, seconds, by }) {
    const entry = this.answers.get(epoch);
    if (!entry) {
      return;
    }
    this.list.setAttribute("aria-busy", "false");
    entry.item.dataset.over = by || "whole";
    entry.item.dataset.seconds = seconds.toFixed(2);
    const whole = entry.text.textContent;
    if (by) {
      entry.note.textContent = `${BROKEN[by] ?? "Broken off"} after ${seconds.toFixed(1)} s.`;
      if (text !== undefined && whole.startsWith(text) && whole !== text) {
        const unheard = document.createElement("del");
        unheard.textContent = whole.slice(text.length);
        entry.text.replaceChildren(text, unheard);
      }
    } else {
      entry.note.textContent = `${whole ? "" : "sound without text, "}${seconds.toFixed(1)} s`;
    }
    this.follow();
  }

  entry(kind, name) {
    const item = document.createElement("li");
    const who = document.createElement("span");
    const body = document.createElement("div");
    const text = document.createElement("p");
    const note = document.createElement("p");
    item.className = kind;
    who.className = "who";
    who.textContent = name;
    note.className = "note";
    body.append(text, note);
    item.append(who, body);
    this.list.append(item);
    this.nothing.hidden = true;
    while (this.list.children.length > MOST) {
      this.list.firstElementChild.remove();
    }
    this.follow();
    return { item, text, note };
  }

  /** Keep the end in sight, unless the reader has gone back. */
  follow() {
    const { list } = this;
    if (list.scrollHeight - list.scrollTop - list.clientHeight < 160) {
      list.scrollTop = list.scrollHeight;
    }
  }
}
