/** From one sample rate to another, in pieces as they come: the same samples as in one go. */

/** Zero crossings of the sinc on each side: with the window below, aliases are 80 dB down. */
const CROSSINGS = 24;
/** Where the passband ends, as a share of the lower of the two half rates. */
const EDGE = 0.92;
const KAISER = 8;

/** A polyphase filter for a rational ratio. Output sample 0 stands where input sample 0 stands: nothing is delayed. */
export class Resampler {
  constructor(from, to) {
    const shared = divisor(from, to);
    this.up = to / shared;
    this.down = from / shared;
    this.half = Math.ceil(CROSSINGS / Math.min(1, to / from));
    this.phases = this.up === this.down ? null : phases(this.up, this.half, EDGE * Math.min(1, to / from));
    // Half a filter of silence stands before the first sample.
    this.rest = new Float32Array(this.half - 1);
    this.phase = 0;
    this.taken = 0;
    this.given = 0;
  }

  /** What can be said of the input so far; `last`: nothing comes after it, and the output is as long as the input. */
  push(samples, last = false) {
    if (!this.phases) {
      return samples;
    }
    this.taken += samples.length;
    const input = joined(this.rest, samples, last ? this.half : 0);
    const end = last ? Math.ceil((this.taken * this.up) / this.down) - this.given : Infinity;
    const found = [];
    let at = 0;
    while (at + 2 * this.half <= input.length && found.length < end) {
      found.push(dot(input, at, this.phases[this.phase]));
      this.phase += this.down;
      at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.rest = input.slice(at);
    this.given += found.length;
    return Float32Array.from(found);
  }
}

function dot(input, at, taps) {
  let sum = 0;
  for (let k = 0; k < taps.length; k++) {
    sum += input[at + k] * taps[k];
  }
  return sum;
}

function joined(first, second, zeros) {
  const all = new Float32Array(first.length + second.length + zeros);
  all.set(first);
  all.set(second, first.length);
  return all;
}

/** One filter for each place between two input samples, each of sum 1, so that no place is louder than another. */
function phases(count, half, edge) {
  return Array.from({ length: count }, (_, phase) => {
    const taps = new Float32Array(2 * half);
    let sum = 0;
    for (let k = 0; k < taps.length; k++) {
      const t = k - (half - 1) - phase / count;
      taps[k] = edge * sinc(edge * t) * kaiser(t / half);
      sum += taps[k];
    }
    return taps.map((tap) => tap / sum);
  });
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(KAISER * Math.sqrt(1 - x * x)) / bessel(KAISER);
}

/** The modified Bessel function of order 0, by its series. */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}
