/** What is played of the answers. Without a clock or a device: it is asked for blocks of samples, and counts them. */

/** Seconds. */
const START = 0.08;
const LEAST = 0.04;
const MOST = 0.5;
/** By how much the buffer grows after it ran dry: half of what it was, and no less than this. */
const GROWTH = 0.04;
/** After so long without an underrun, and with that much to spare, it shrinks by a little. */
const CALM = 5;
const SHRINK = 0.01;
/** How soft an answer is while the user may be interrupting it. */
const DUCKED = 0.2;
/** How long a change of loudness takes: too short to be waited for, long enough not to click. */
const RAMP = 0.005;

/** How much is to wait before playing starts: as little as the network allows. */
export class Jitter {
  constructor() {
    this.target = START;
    this.underruns = 0;
    this.calm();
  }

  /** It ran dry. */
  dry() {
    this.underruns += 1;
    this.target = Math.min(MOST, Math.max(this.target * 1.5, this.target + GROWTH));
    this.calm();
  }

  /** So many seconds were played, and so many still wait. */
  passed(seconds, waiting) {
    this.since += seconds;
    this.spare = Math.min(this.spare, waiting);
    if (this.since >= CALM) {
      if (this.spare > this.target) {
        this.target = Math.max(LEAST, this.target - SHRINK);
      }
      this.calm();
    }
  }

  calm() {
    this.since = 0;
    this.spare = Infinity;
  }
}

/**
 * The answers in the order in which they came. Each has an epoch, which only grows: what belongs to one that was broken
 * off, or to an older one, is stale and is never played.
 */
export class Playing {
  constructor(rate) {
    this.rate = rate;
    this.jitter = new Jitter();
    this.reset();
  }

  /** As if nothing had ever come: a new connection counts its answers anew. */
  reset() {
    this.queue = [];
    this.made = new Set();
    this.stale = 0;
    this.epoch = 0;
    this.frames = 0;
    this.running = false;
    this.gain = 1;
    this.aim = 1;
    this.fading = new Float32Array(0);
  }

  /** Seconds that wait to be played. */
  get waiting() {
    return this.queue.reduce((sum, piece) => sum + piece.samples.length - piece.at, 0) / this.rate;
  }

  /** Seconds that were played of the present answer. */
  get played() {
    return this.frames / this.rate;
  }

  /** A piece of answer `epoch`. */
  push(epoch, samples) {
    if (epoch > this.stale && samples.length) {
      this.queue.push({ epoch, samples, at: 0 });
    }
  }

  /** Nothing more comes of answer `epoch`. */
  whole(epoch) {
    if (epoch > this.stale) {
      this.made.add(epoch);
    }
  }

  /** Play softly, or as usual. */
  duck(on) {
    this.aim = on ? DUCKED : 1;
  }

  /** Throw away what waits of answer `epoch` and older ones (null: of all that came). The present sound fades in 5 ms. */
  clear(epoch = null) {
    const last = epoch ?? Math.max(this.epoch, this.stale, ...this.queue.map((piece) => piece.epoch));
    this.stale = Math.max(this.stale, last);
    if (this.running && this.queue.length && this.queue[0].epoch <= last) {
      this.fading = this.ending();
      this.running = false;
    }
    this.queue = this.queue.filter((piece) => piece.epoch > last);
    this.made.forEach((one) => one <= last && this.made.delete(one));
    this.gain = this.aim = 1;
  }

  /** Fill `output` with what is due; the epoch of an answer whose first sample is in it, else 0. */
  render(output) {
    this.start();
    let at = this.faded(output);
    let began = 0;
    while (this.running && at < output.length) {
      const piece = this.queue[0];
      if (!piece) {
        this.dried();
        break;
      }
      if (piece.epoch !== this.epoch) {
        this.made.delete(this.epoch);
        began = this.epoch = piece.epoch;
        this.frames = 0;
      }
      at = this.copy(piece, output, at);
    }
    output.fill(0, at);
    if (this.running) {
      this.jitter.passed(output.length / this.rate, this.waiting);
    }
    return began;
  }

  start() {
    const first = this.queue[0];
    if (first && (this.waiting >= this.jitter.target || this.made.has(first.epoch))) {
      this.running = true;
    }
  }

  dried() {
    this.running = false;
    if (!this.made.has(this.epoch)) {
      this.jitter.dry();
    }
  }

  copy(piece, output, at) {
    const step = 1 / (RAMP * this.rate);
    const count = Math.min(output.length - at, piece.samples.length - piece.at);
    for (let k = 0; k < count; k++) {
      this.gain += Math.max(-step, Math.min(step, this.aim - this.gain));
      output[at + k] = this.gain * piece.samples[piece.at + k];
    }
    piece.at += count;
    this.frames += count;
    if (piece.at === piece.samples.length) {
      this.queue.shift();
    }
    return at + count;
  }

  /** The next few samples, falling to silence. */
  ending() {
    const { samples, at } = this.queue[0];
    const tail = samples.slice(at, at + Math.round(RAMP * this.rate));
    return tail.map((sample, k) => (sample * this.gain * (tail.length - k)) / tail.length);
  }

  faded(output) {
    const count = Math.min(this.fading.length, output.length);
    output.set(this.fading.subarray(0, count));
    this.fading = this.fading.subarray(count);
    return count;
  }
}
