/** Puts the parts together: buttons and keys to the conversation, what it tells to the page. */
import { Answers, Levels, Network } from "./plots.js";
import { selftest } from "./selftest.js";
import { ready, speakers } from "./server.js";
import { Settings } from "./settings.js";
import { Talk } from "./talk.js";
import { Transcript } from "./transcript.js";
import { sentence } from "./trouble.js";

/** Milliseconds between two looks whether the server is ready. */
const LOOK = 2000;

const $ = (id) => document.getElementById(id);
const transcript = new Transcript($("transcript"), $("nothing"));
const levels = new Levels($("levels"));
const answers = new Answers($("answers"));
const network = new Network($("network"));
const settings = new Settings($("settings"), (config) => {
  talk.configure(config);
  buttons();
});

let connection = 0;
let busy = false;
let last = {};

/** What Talk tells; see there. */
const view = {
  state(text, name) {
    if ($("state-words").textContent !== text) {
      $("state-words").textContent = text;
    }
    $("state").dataset.state = name;
    buttons();
  },
  notice(text) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
  },
  offered: (found) => settings.offer(found),
  greeted(facts) {
    connection += 1;
    last = {};
    transcript.begin();
    $("model").textContent = `${facts.backend} · ${facts.model}`;
  },
  settled: (config) => settings.settled(config),
  turn: () => transcript.turn(),
  turnOver: (seconds) => transcript.turnOver(seconds),
  answer: (epoch) => transcript.answer(epoch),
  words: (epoch, text) => transcript.words(epoch, text),
  answerOver: (epoch, how) => transcript.answerOver(epoch, how),
  latency(epoch, times) {
    last = last.epoch === epoch ? { ...last, ...times } : { epoch, ...times };
    answers.put(`${connection}.${epoch}`, times);
    $("first").textContent = milliseconds(last.first);
    $("endpoint").textContent = milliseconds(last.endpoint);
    $("heard").textContent = milliseconds(last.heard);
  },
  roundtrip(trip) {
    network.put({ trip });
    $("roundtrip").textContent = milliseconds(trip, 1);
  },
  playback({ epoch, played, waiting, target, underruns, level }) {
    levels.push(1, level);
    network.put({ buffer: 1000 * waiting, aim: 1000 * target });
    $("waiting").textContent = milliseconds(1000 * waiting);
    $("target").textContent = milliseconds(1000 * target);
    $("underruns").textContent = underruns;
    $("played").textContent = epoch ? `${played.toFixed(2)} s` : "–";
  },
  level: (peak) => levels.push(0, peak),
};

const talk = new Talk(view);

function milliseconds(value, digits = 0) {
  return Number.isFinite(value) ? `${value.toFixed(digits)} ms` : "–";
}

/** Show each button as what it would do now. */
function buttons() {
  const open = talk.connection === "open";
  $("connect").textContent = talk.wanted ? "Disconnect" : "Connect";
  $("connect").disabled = busy;
  $("interrupt").disabled = !talk.answers;
  $("mute").disabled = !talk.wanted;
  $("mute").setAttribute("aria-pressed", String(talk.muted));
  $("commit").hidden = settings.config().turns !== "client";
  $("commit").disabled = !open;
  $("test").disabled = busy || talk.wanted;
  levels.run(talk.wanted);
}

/** Do something that takes its time and may fail; meanwhile it is not begun again. */
async function during(work) {
  if (busy) {
    return;
  }
  busy = true;
  buttons();
  try {
    await work();
  } catch (error) {
    view.notice(sentence(error));
    if (error.key) {
      $("key-row").hidden = false;
      $("key").focus();
    }
  } finally {
    busy = false;
    buttons();
  }
}

async function connect() {
  view.notice("");
  if (talk.wanted) {
    await talk.end();
  } else if (settings.fits) {
    await talk.begin({ key: $("key").value.trim(), ...settings.next, config: () => settings.config() });
  }
}

async function test() {
  const rows = new Map();
  $("tests").replaceChildren();
  view.notice("");
  await selftest({ key: $("key").value.trim(), ...settings.next }, (name, verdict, text) => {
    if (!rows.has(name)) {
      const row = document.createElement("li");
      row.append(document.createElement("span"), document.createElement("p"));
      row.firstChild.className = "verdict";
      rows.set(name, row);
      $("tests").append(row);
    }
    const row = rows.get(name);
    row.className = verdict;
    row.dataset.test = name;
    row.firstChild.textContent = verdict === "running" ? "…" : verdict;
    row.lastChild.textContent = text ? `${name}: ${text}` : name;
  });
}

/** Wait until the server is ready, and show what it offers. */
async function look() {
  if (talk.wanted || busy) {
    return;
  }
  try {
    if (await ready()) {
      settings.offer(await speakers($("key").value.trim()));
      view.notice("");
      return;
    }
    view.notice("The server is loading its model, or stopping. This page looks again by itself.");
  } catch (error) {
    view.notice(sentence(error));
    if (error.key) {
      $("key-row").hidden = false;
      return;
    }
  }
  setTimeout(look, LOOK);
}

$("connect").addEventListener("click", () => during(connect));
$("interrupt").addEventListener("click", () => talk.interrupt());
$("commit").addEventListener("click", () => talk.commit());
$("test").addEventListener("click", () => during(test));
$("mute").addEventListener("click", () => talk.mute(!talk.muted));
$("key-row").addEventListener("submit", (event) => {
  event.preventDefault();
  during(connect);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && talk.answers) {
    talk.interrupt();
  }
});
addEventListener("pagehide", () => talk.end());

buttons();
look();
