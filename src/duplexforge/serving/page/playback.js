/** The loudspeaker's worklet: plays what it is sent, and tells how much of it was played by its own count. */
import { Playing } from "./playing.js";

/** Seconds between two reports. */
const REPORT = 0.04;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.playing = new Playing(sampleRate);
    this.due = 0;
    this.level = 0;
    this.was = false;
    this.port.onmessage = ({ data }) => this.told(data);
  }

  told({ type, epoch, samples, on }) {
    if (type === "sound") {
      this.playing.push(epoch, samples);
    } else if (type === "made") {
      this.playing.whole(epoch);
    } else if (type === "duck") {
      this.playing.duck(on);
    } else if (type === "reset") {
      this.playing.reset();
    } else if (type === "clear") {
      this.playing.clear(epoch);
      this.report({ cleared: true });
    }
  }

  process(_, [channels]) {
    const began = this.playing.render(channels[0]);
    channels.slice(1).forEach((channel) => channel.set(channels[0]));
    this.level = channels[0].reduce((most, sample) => Math.max(most, Math.abs(sample)), this.level);
    const stopped = this.was && !this.playing.running;
    this.was = this.playing.running;
    if (began || stopped || currentTime >= this.due) {
      this.report({ began, at: currentTime });
    }
    return true;
  }

  report(more) {
    const { epoch, played, waiting, running, jitter } = this.playing;
    this.port.postMessage({
      ...more,
      epoch,
      played,
      waiting,
      running,
      level: this.level,
      target: jitter.target,
      underruns: jitter.underruns,
    });
    this.level = 0;
    this.due = currentTime + REPORT;
  }
}

registerProcessor("playback", Playback);
