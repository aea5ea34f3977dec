/** From the user's last sound to the answer's first one, on one clock: that of the page's sound. */

/** `rate`: samples a second that the server hears. */
export class Clock {
  constructor(rate) {
    this.rate = rate;
    this.sent = 0;
    this.offset = 0;
    this.asked = null;
    this.questions = new Map();
  }

  /** So many samples of the microphone went out, the last of them heard at `time`. */
  heard(count, time) {
    this.sent += count;
    // Where second 0 of the server's stream of us lies on the sound's clock.
    this.offset = time - this.sent / this.rate;
  }

  /** The server says that the user's turn ended at `at` seconds of its stream. */
  turnOver(at) {
    this.asked = this.offset + at;
  }

  /** Answer `epoch` begins: it is the answer to that turn. */
  answering(epoch) {
    this.questions.clear();
    if (this.asked !== null) {
      this.questions.set(epoch, this.asked);
      this.asked = null;
    }
  }

  /** The first sample of answer `epoch` is heard at `time`: the seconds that took, null where no turn was seen. */
  played(epoch, time) {
    const asked = this.questions.get(epoch);
    return asked === undefined ? null : time - asked;
  }
}
