/** One conversation from the page's side: the microphone to the server, its answers to the loudspeaker. */
import { Clock } from "./clock.js";
import { Line, speakers } from "./server.js";
import { Sound } from "./sound.js";
import { inWords } from "./state.js";
import { Trouble, sentence } from "./trouble.js";
import { decoded, encoded } from "./wire.js";

/** Seconds before each new try when a connection was lost. */
const TRIES = [1, 2, 4, 8, 15];
const HEARS = 16000;
const PING = 2;
/** Seconds between two reports of what was played. */
const REPORT = 0.1;
/** Bytes that may wait for a slow network before the microphone's blocks are left out: about two seconds. */
const MOST_UNSENT = 180_000;

/**
 * `view` is told everything by these methods: state(text, word), notice(text), offered(speakers), greeted(facts),
 * settled(config), turn(), turnOver(seconds), answer(epoch), words(epoch, text), answerOver(epoch, {text, seconds, by}),
 * latency(epoch, times), roundtrip(ms), playback(report), level(peak).
 */
export class Talk {
  constructor(view) {
    this.view = view;
    this.wanted = false;
    this.muted = false;
    this.connection = "off";
    this.forget();
  }

  /** Whether there is an answer that could be broken off. */
  get answers() {
    return this.connection === "open" && (Boolean(this.report?.running) || this.due);
  }

  /** Whether an answer is being made. */
  get due() {
    return this.thinking && this.epoch > this.stale;
  }

  /** Connect. `key`, `name` of the session, `plain` microphone, `config()` the session's settings. Throws Trouble. */
  async begin({ key, name, plain, config }) {
    this.wanted = true;
    this.with = { key, name };
    this.is("opening");
    // Made within the click: later, browsers would not let it play.
    this.sound = new Sound({
      heard: (block) => this.heard(block),
      reported: (report) => this.reported(report),
      lost: (text) => this.view.notice(text),
    });
    try {
      this.view.offered(await speakers(key));
      this.config = config();
      await this.sound.open({ hears: HEARS, plain });
      await this.dial();
    } catch (error) {
      await this.end();
      throw error;
    }
  }

  /** Disconnect. */
  async end() {
    this.wanted = false;
    clearTimeout(this.retry);
    this.hangUp();
    const sound = this.sound;
    this.sound = null;
    this.is("off");
    await sound?.close();
  }

  /** Change the session's settings. */
  configure(config) {
    this.config = { ...this.config, ...config };
    this.line?.say({ type: "config", config });
  }

  /** Break off the answer: silence at once, then the server is told how much of it was heard. */
  async interrupt() {
    const line = this.line;
    const report = await this.sound?.clear();
    // What is still on its way belongs to that answer as well.
    this.stale = Math.max(this.stale, this.epoch);
    this.sound?.clear(this.stale);
    const heard = report?.epoch === this.epoch ? report.played : null;
    line?.say({ type: "interrupt", ...(heard === null ? {} : { played: heard }) });
    // An answer that was handed over whole is over for the server: nobody else will say that it was broken off.
    this.view.answerOver(this.epoch, { seconds: heard ?? 0, by: "client" });
    this.show();
  }

  /** Say that our turn is over. */
  commit() {
    this.line?.say({ type: "commit" });
  }

  /** Let the server hear silence instead of the microphone. */
  mute(on) {
    this.muted = on;
    this.sound?.mute(on);
    this.show();
  }

  // -- the connection -----------------------------------------------------------------------------------------------

  async dial() {
    const line = new Line({ told: (message) => this.told(message), ended: (trouble) => this.lost(trouble) });
    const facts = await line.open(this.with.name, this.with.key);
    if (!this.wanted) {
      line.close();
      return;
    }
    this.forget();
    this.sound.reset();
    this.sound.mute(this.muted);
    this.line = line;
    this.view.greeted(facts);
    line.say({ type: "config", config: { sample_rate: HEARS, ...this.config } });
    this.pings = setInterval(() => line.ping(), PING * 1000);
    line.ping();
    this.is("open");
  }

  hangUp() {
    clearInterval(this.pings);
    this.line?.close();
    this.line = null;
    this.forget();
  }

  forget() {
    this.epoch = this.stale = this.last = 0;
    this.clock = new Clock(HEARS);
    this.report = null;
    this.speaking = this.thinking = this.ducked = false;
  }

  lost(trouble, tries = 0) {
    this.hangUp();
    this.sound?.clear();
    if (!this.wanted) {
      return;
    }
    if (!trouble.again || tries >= TRIES.length) {
      this.view.notice(trouble.message);
      this.end();
      return;
    }
    const wait = TRIES[tries];
    this.is("again");
    this.view.notice(`${trouble.message} Trying again in ${wait} s (${tries + 1} of ${TRIES.length}).`);
    this.retry = setTimeout(async () => {
      try {
        await this.dial();
        this.view.notice("");
      } catch (error) {
        this.lost(error instanceof Trouble ? error : new Trouble(sentence(error)), tries + 1);
      }
    }, wait * 1000);
  }

  // -- sound --------------------------------------------------------------------------------------------------------

  heard({ samples, time }) {
    this.view.level(samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
    if (!this.line || this.line.unsent > MOST_UNSENT) {
      return;
    }
    this.line.say({ type: "audio", audio: encoded(samples) });
    this.clock.heard(samples.length, time);
  }

  reported(report) {
    // The last words of a sound that we have let go of.
    if (!this.sound) {
      return;
    }
    const before = this.report;
    this.report = report;
    this.view.playback(report);
    if (report.began) {
      this.began(report);
    }
    const due = report.running ? this.sound.now - this.last >= REPORT : before?.running;
    if (due && report.epoch > this.stale) {
      this.last = this.sound.now;
      this.line?.say({ type: "played", epoch: report.epoch, seconds: report.played });
    }
    if (before?.running !== report.running) {
      this.show();
    }
  }

  began({ began, at }) {
    const seconds = this.clock.played(began, at + this.sound.latency);
    if (seconds !== null) {
      this.view.latency(began, { heard: 1000 * seconds });
    }
  }

  // -- what the server says -----------------------------------------------------------------------------------------

  told(message) {
    if (message.type === "audio") {
      this.sounded(message);
    } else if (message.type === "metadata") {
      this.happened(message.data);
    } else if (message.type === "latency") {
      this.view.latency(message.epoch, { first: message.latency_ms, endpoint: message.endpoint_ms });
    } else if (message.type === "pong") {
      this.view.roundtrip(message.trip);
    } else if (message.type === "error") {
      this.view.notice(`The server says: ${message.error}`);
    }
    this.show();
  }

  sounded({ epoch, audio, sample_rate: rate }) {
    if (epoch > this.stale) {
      this.sound.play(epoch, decoded(audio), rate);
    }
  }

  happened(data) {
    const { epoch } = data;
    if (data.config) {
      this.view.settled(data.config);
    } else if (data.speech) {
      this.turned(data);
    } else if (data.answer === "began") {
      this.answering(epoch);
    } else if (data.answer === "made") {
      this.sound.made(epoch);
    } else if (data.answer === "ended") {
      this.answered(epoch, data);
    } else if (data.interrupted) {
      this.broken(epoch, data);
    } else if (data.ducked || data.resumed) {
      this.softly(Boolean(data.ducked));
    } else if (data.text !== undefined && epoch > this.stale) {
      this.view.words(epoch, data.text);
    } else if (data.lagged) {
      this.view.notice(`The server is behind: it has left out ${data.lagged.toFixed(1)} s of what you said.`);
    }
  }

  turned({ speech, at }) {
    this.speaking = speech === "began";
    if (this.speaking) {
      this.since = at;
      this.view.turn();
    } else {
      this.clock.turnOver(at);
      this.view.turnOver(at - this.since);
    }
  }

  answering(epoch) {
    this.epoch = epoch;
    this.thinking = true;
    this.clock.answering(epoch);
    this.view.answer(epoch);
  }

  answered(epoch, { text, seconds }) {
    this.sound.made(epoch);
    this.softly(false);
    this.thinking = false;
    this.view.answerOver(epoch, { text, seconds });
  }

  broken(epoch, { text, played, by }) {
    this.stale = Math.max(this.stale, epoch);
    this.sound.clear(epoch);
    this.ducked = this.thinking = false;
    this.view.answerOver(epoch, { text, seconds: played, by });
  }

  softly(on) {
    this.ducked = on;
    this.sound.duck(on);
  }

  // -- in words -----------------------------------------------------------------------------------------------------

  is(connection) {
    this.connection = connection;
    this.show();
  }

  show() {
    this.view.state(...inWords({ ...this, running: this.report?.running, due: this.due }));
  }
}
