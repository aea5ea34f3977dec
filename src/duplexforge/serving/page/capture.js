/** The microphone's worklet: mono blocks of 20 ms at the rate that the server hears, whatever the device gives. */
import { Resampler } from "./resample.js";

const BLOCK = 0.02;

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions: { hears } }) {
    super();
    this.resampler = new Resampler(sampleRate, hears);
    this.gathered = [];
    this.count = 0;
    this.raw = Math.round(BLOCK * sampleRate);
    this.block = new Float32Array(Math.round(BLOCK * hears));
    this.filled = 0;
  }

  process([channels]) {
    // Without a device there is silence: the stream is the server's clock, and must not stand still.
    const frames = channels.length ? channels[0].length : 128;
    const mono = new Float32Array(frames);
    for (const channel of channels) {
      for (let k = 0; k < frames; k++) {
        mono[k] += channel[k] / channels.length;
      }
    }
    this.gathered.push(mono);
    this.count += frames;
    if (this.count >= this.raw) {
      this.send(this.resampler.push(this.together()));
    }
    return true;
  }

  together() {
    const all = new Float32Array(this.count);
    let at = 0;
    for (const piece of this.gathered) {
      all.set(piece, at);
      at += piece.length;
    }
    this.gathered = [];
    this.count = 0;
    return all;
  }

  send(samples) {
    for (let at = 0; at < samples.length; ) {
      const count = Math.min(samples.length - at, this.block.length - this.filled);
      this.block.set(samples.subarray(at, at + count), this.filled);
      at += count;
      this.filled += count;
      if (this.filled === this.block.length) {
        const block = this.block.slice();
        this.port.postMessage({ samples: block, time: currentTime }, [block.buffer]);
        this.filled = 0;
      }
    }
  }
}

registerProcessor("capture", Capture);
