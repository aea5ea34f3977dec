/** The microphone and the loudspeaker, on one clock: an AudioContext with a worklet for each. */
import { Resampler } from "./resample.js";
import { Trouble, ofMicrophone } from "./trouble.js";

/** Seconds that a worklet has to answer; one that is suspended does not. */
const PATIENCE = 0.3;
/** Seconds that the browser has to begin. */
const START = 5;

/**
 * `heard` gets each block of the microphone {samples, time}, `reported` what was played, `lost` a sentence.
 * Make it within a click: browsers let no page sound before one.
 */
export class Sound {
  constructor({ heard, reported, lost }) {
    this.heard = heard;
    this.reported = reported;
    this.lost = lost;
    this.voices = new Map();
    this.waits = [];
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.running = within(START, this.context.resume(), "The browser does not let this page play sound.");
    // Whoever opens it is told.
    this.running.catch(() => {});
  }

  /** Start. `hears`: samples a second that `heard` wants (none: no microphone); `plain`: as it is. Throws Trouble. */
  async open({ hears, plain }) {
    try {
      await Promise.all([this.running, ...["capture.js", "playback.js"].map((name) => this.load(name))]);
      this.speaker();
      if (hears) {
        await this.microphone(hears, plain);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    this.context.onstatechange = () => {
      if (this.context.state !== "running" && this.context.state !== "closed") {
        this.lost("The browser has paused the sound: disconnect and connect again when it may go on.");
      }
    };
  }

  /** The context's clock, in seconds. */
  get now() {
    return this.context.currentTime;
  }

  /** Seconds from the worklet to the ear, as far as the browser knows. */
  get latency() {
    return (this.context.outputLatency || 0) + (this.context.baseLatency || 0);
  }

  /** Play a piece of answer `epoch`, at `rate` samples a second. */
  play(epoch, samples, rate) {
    if (!this.voices.has(epoch)) {
      // One answer is made at a time: whatever an older one left behind is over.
      this.voices.clear();
      this.voices.set(epoch, new Resampler(rate, this.context.sampleRate));
    }
    this.post({ type: "sound", epoch, samples: this.voices.get(epoch).push(samples) });
  }

  /** Nothing more comes of answer `epoch`. */
  made(epoch) {
    const voice = this.voices.get(epoch);
    if (voice) {
      this.voices.delete(epoch);
      this.post({ type: "sound", epoch, samples: voice.push(new Float32Array(0), true) });
      this.post({ type: "made", epoch });
    }
  }

  /** Play softly, or as usual. */
  duck(on) {
    this.post({ type: "duck", on });
  }

  /** Throw away what waits of answer `epoch` and before (null: of all); the last report, null when there is none. */
  clear(epoch = null) {
    this.voices.clear();
    this.post({ type: "clear", epoch });
    return new Promise((resolve) => {
      this.waits.push(resolve);
      setTimeout(() => resolve(null), PATIENCE * 1000);
    });
  }

  /** Forget all answers: a new connection counts them anew. */
  reset() {
    this.voices.clear();
    this.post({ type: "reset" });
  }

  /** Whether the microphone is to give silence. */
  mute(on) {
    if (this.track) {
      this.track.enabled = !on;
    }
  }

  /** Let go of both. */
  async close() {
    this.track?.stop();
    if (this.context.state !== "closed") {
      this.context.onstatechange = null;
      await this.context.close();
    }
  }

  load(name) {
    return this.context.audioWorklet.addModule(new URL(name, import.meta.url)).catch(() => {
      throw new Trouble("The browser could not load the page's sound part: load the page again.");
    });
  }

  speaker() {
    this.playback = new AudioWorkletNode(this.context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.playback.port.onmessage = ({ data }) => {
      if (data.cleared) {
        this.waits.splice(0).forEach((resolve) => resolve(data));
      }
      this.reported(data);
    };
    this.playback.connect(this.context.destination);
  }

  async microphone(hears, plain) {
    if (!navigator.mediaDevices) {
      throw new Trouble("Browsers give a microphone only to https pages and to localhost.");
    }
    const wanted = { echoCancellation: !plain, noiseSuppression: !plain, autoGainControl: !plain, channelCount: 1 };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted }).catch((error) => {
      throw ofMicrophone(error);
    });
    [this.track] = stream.getAudioTracks();
    this.track.onended = () => this.lost("The microphone is gone: plug it in, and connect again.");
    const options = { outputChannelCount: [1], processorOptions: { hears } };
    this.capture = new AudioWorkletNode(this.context, "capture", options);
    this.capture.port.onmessage = ({ data }) => this.heard(data);
    this.context.createMediaStreamSource(stream).connect(this.capture);
    // Some browsers run a worklet only when it leads somewhere; what comes out of this one is silence.
    this.capture.connect(this.context.destination);
  }

  post(message) {
    this.playback?.port.postMessage(message, message.samples ? [message.samples.buffer] : []);
  }
}

function within(seconds, promise, otherwise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Trouble(otherwise)), seconds * 1000));
  return Promise.race([promise, late]);
}
