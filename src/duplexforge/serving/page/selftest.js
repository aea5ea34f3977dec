/** Tries each part that a conversation needs, one after the other; each ends in a sentence, or in a Trouble. */
import { Line, ready } from "./server.js";
import { Sound } from "./sound.js";
import { Trouble } from "./trouble.js";
import { decoded, encoded } from "./wire.js";

const HEARS = 16000;
/** Seconds. */
const PATIENCE = 5;
const THINKING = 15;
const TONE = 0.3;
const QUESTION = 1;
const PINGS = 5;
const TESTS = { "Audio context": context, Microphone: microphone, Socket: socket, "Echo round trip": echo };
/** An echo whose waveform agrees less with what was sent was damaged on its way. */
const ALIKE = 0.9;

/** `told` gets (name, verdict, sentence), verdict one of "running", "pass", "fail". Whether all passed. */
export async function selftest({ key, plain }, told) {
  const place = { key, plain, line: null };
  let good = true;
  for (const [name, test] of Object.entries(TESTS)) {
    told(name, "running", "");
    try {
      told(name, "pass", await test(place));
    } catch (error) {
      good = false;
      told(name, "fail", error instanceof Trouble ? error.message : String(error));
    }
  }
  place.line?.close();
  return good;
}

async function context() {
  const over = gate(PATIENCE, "The sound was not played: is there a loudspeaker?");
  const reported = (report) => report.epoch === 1 && !report.running && over.open(report);
  const sound = new Sound({ heard: () => {}, lost: () => {}, reported });
  await sound.open({});
  try {
    const rate = sound.context.sampleRate;
    sound.play(1, tone(TONE, rate, 0.03), rate);
    sound.made(1);
    const { played } = await over.opened;
    if (Math.abs(played - TONE) > 0.01) {
      throw new Trouble(`Of ${TONE} s only ${played.toFixed(2)} s were played.`);
    }
    return `plays at ${rate} samples a second; the device is ${Math.round(1000 * sound.latency)} ms behind`;
  } finally {
    await sound.close();
  }
}

async function microphone({ plain }) {
  const enough = gate(PATIENCE, "The microphone gives nothing.");
  const levels = [];
  const heard = ({ samples }) => {
    levels.push(Math.max(...samples.map(Math.abs)));
    if (levels.length >= 50) {
      enough.open();
    }
  };
  const sound = new Sound({ heard, lost: () => {}, reported: () => {} });
  await sound.open({ hears: HEARS, plain });
  try {
    await enough.opened;
    const peak = Math.max(...levels);
    const decibels = Math.round(20 * Math.log10(peak));
    const loud = peak > 0 ? `the loudest of a second at ${decibels} dB` : "but only silence: is it muted?";
    return `“${sound.track.label || "unnamed"}” gives blocks of 20 ms, ${loud}`;
  } finally {
    await sound.close();
  }
}

async function socket(place) {
  if (!(await ready())) {
    throw new Trouble("The server is loading its model, or stopping.");
  }
  const line = new Line({ told: (message) => place.told?.(message), ended: (trouble) => place.ended?.(trouble) });
  const facts = await line.open("", place.key);
  Object.assign(place, { line, backend: facts.backend });
  const trips = [];
  while (trips.length < PINGS) {
    const back = waiting(place, PATIENCE, "The server does not answer a ping.");
    place.told = (message) => message.type === "pong" && back.open(message.trip);
    line.ping();
    trips.push(await back.opened);
  }
  trips.sort((a, b) => a - b);
  return `“${facts.backend}” is there; a ping takes ${trips[PINGS >> 1].toFixed(1)} ms there and back`;
}

async function echo(place) {
  const { line } = place;
  if (!line) {
    throw new Trouble("Not tried: there is no connection.");
  }
  const question = tone(QUESTION, HEARS, 0.3);
  const answer = await asked(place, question);
  const came = `the first of the answer came ${Math.round(answer.first)} ms after the last of the question`;
  if (place.backend !== "echo") {
    return came;
  }
  const alike = likeness(question, answer.samples);
  if (!(alike >= ALIKE)) {
    throw new Trouble(`What came back is not what was sent: they agree to ${Math.round(100 * alike)} %.`);
  }
  return `${came}; it agrees with it to ${(100 * alike).toFixed(1)} %`;
}

/** Ask with a sound; the answer's samples, and the milliseconds until its first piece. */
async function asked(place, question) {
  const over = waiting(place, THINKING, "The server gave no answer.");
  const pieces = [];
  let first = null;
  let sent = 0;
  place.told = (message) => {
    if (message.type === "audio" || (message.type === "metadata" && message.data.text && !message.data.answer)) {
      first ??= performance.now() - sent;
      pieces.push(message.type === "audio" ? decoded(message.audio) : new Float32Array(0));
    } else if (message.type === "error") {
      over.fail(new Trouble(`The server says: ${message.error}`));
    } else if (first !== null && ["made", "ended"].includes(message.data?.answer)) {
      over.open();
    }
  };
  // The client ends the turn: a made sound is no voice that the server could hear the end of.
  const config = { mode: "stream", turns: "client", sample_rate: HEARS, output_sample_rate: HEARS };
  place.line.say({ type: "config", config });
  for (let at = 0; at < question.length; at += HEARS / 50) {
    place.line.say({ type: "audio", audio: encoded(question.slice(at, at + HEARS / 50)) });
  }
  sent = performance.now();
  place.line.say({ type: "commit" });
  await over.opened;
  place.line.say({ type: "interrupt" });
  return { first, samples: Float32Array.from(pieces.flatMap((piece) => [...piece])) };
}

/** A tone that rises from 200 to 1,500 Hz and begins and ends softly: no part of it is like another. */
function tone(seconds, rate, loudness) {
  return Float32Array.from({ length: Math.round(seconds * rate) }, (_, k) => {
    const t = k / rate;
    const edge = Math.min(1, t / 0.02, (seconds - t) / 0.02);
    return loudness * edge * Math.sin(2 * Math.PI * (200 * t + (650 * t * t) / seconds));
  });
}

/** How well the waveform is found again, 0 to 1, wherever in the first 100 ms it begins. */
function likeness(sent, came) {
  let best = 0;
  const length = Math.min(sent.length, came.length);
  for (let lag = 0; lag <= HEARS / 10; lag++) {
    let both = 0;
    let mine = 0;
    let theirs = 0;
    for (let k = 0; k + lag < length; k += 2) {
      both += sent[k] * came[k + lag];
      mine += sent[k] ** 2;
      theirs += came[k + lag] ** 2;
    }
    best = Math.max(best, both / Math.sqrt(mine * theirs || 1));
  }
  return length >= sent.length / 2 ? best : 0;
}

/** Something to wait for, not for ever. */
function gate(seconds, otherwise) {
  const made = {};
  made.opened = new Promise((resolve, reject) => {
    made.open = resolve;
    made.fail = reject;
    setTimeout(() => reject(new Trouble(otherwise)), seconds * 1000);
  });
  // Whoever comes to wait is told; until then a failure is nobody's.
  made.opened.catch(() => {});
  return made;
}

/** The same, over early when the connection ends. */
function waiting(place, seconds, otherwise) {
  const made = gate(seconds, otherwise);
  place.ended = (trouble) => made.fail(trouble);
  return made;
}
