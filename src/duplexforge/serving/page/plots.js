/** Three small plots on canvases: levels, the latency of each answer, round trip and buffer. */

const FONT = "12px system-ui, sans-serif";
const LEFT = 40;
const BOTTOM = 8;
/** Levels: bins of so many seconds, so many of them, down to so many decibels. */
const BIN = 0.05;
const BINS = 200;
const FLOOR = -60;
const ANSWERS = 24;
const MINUTE = 60;

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A canvas that is as sharp as the screen, with the page's colours. */
class Plot {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Wipe it; its width and height in CSS pixels. */
  fresh() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = devicePixelRatio || 1;
    const wide = Math.round(width * ratio);
    const high = Math.round(height * ratio);
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      Object.assign(this.canvas, { width: wide, height: high });
    }
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    this.style = getComputedStyle(document.documentElement);
    return [width, height];
  }

  colour(name) {
    return this.style.getPropertyValue(`--${name}`).trim();
  }

  /** Lines across at round numbers up to `most`; the function from a value to its height. */
  axis(most, [width, height]) {
    const step = stepOf(most);
    const top = Math.ceil(most / step) * step;
    const y = (value) => height - BOTTOM - (value / top) * (height - 2 * BOTTOM - 4);
    Object.assign(this.pen, { font: FONT, textAlign: "right", textBaseline: "middle", lineWidth: 1 });
    for (let value = 0; value <= top; value += step) {
      this.pen.strokeStyle = this.colour("line");
      this.pen.fillStyle = this.colour("soft");
      this.path([[LEFT, Math.round(y(value)) + 0.5], [width, Math.round(y(value)) + 0.5]]);
      this.pen.fillText(String(value), LEFT - 6, y(value));
    }
    return y;
  }

  path(points) {
    this.pen.beginPath();
    points.forEach(([x, y], k) => (k ? this.pen.lineTo(x, y) : this.pen.moveTo(x, y)));
    this.pen.stroke();
  }

  bar(x, y, width, height, colour) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.fillRect(x, y, width, height);
  }
}

/** The step of an axis up to `most`: 1, 2 or 5 times a power of ten, so that there are three to six lines. */
function stepOf(most) {
  const power = 10 ** Math.floor(Math.log10(most / 3));
  return power * ([1, 2, 5, 10].find((one) => one * power * 5 >= most) ?? 10);
}

/** The loudness of both sides: the user upwards, the answer downwards. */
export class Levels extends Plot {
  constructor(canvas) {
    super(canvas);
    this.bins = Array.from({ length: BINS }, () => [0, 0]);
    this.now = [0, 0];
    this.ticks = 0;
  }

  /** The peak (0 to 1) of side 0, the user, or 1, the answer. */
  push(side, peak) {
    this.now[side] = Math.max(this.now[side], peak);
  }

  /** Move on while somebody talks; where motion is unwelcome, in steps of half a second. */
  run(on) {
    if (on !== Boolean(this.timer)) {
      clearInterval(this.timer);
      this.timer = on ? setInterval(() => this.step(), BIN * 1000) : null;
    }
  }

  step() {
    this.bins.push(this.now);
    this.bins.shift();
    this.now = [0, 0];
    this.ticks += 1;
    if (!document.hidden && (!still.matches || this.ticks % 10 === 0)) {
      this.draw();
    }
  }

  draw() {
    const [width, height] = this.fresh();
    const middle = height / 2;
    const wide = width / BINS;
    // Bars with gaps between them where there is room, else one surface.
    const thick = wide >= 3 ? wide - 1 : wide + 0.5;
    this.bins.forEach(([mine, theirs], k) => {
      const up = loud(mine) * (middle - 4);
      const down = loud(theirs) * (middle - 4);
      this.bar(k * wide, middle - up, thick, up, "mine");
      this.bar(k * wide, middle + 1, thick, down, "theirs");
    });
    this.bar(0, middle, width, 1, "edge");
  }
}

function loud(peak) {
  return peak > 0 ? Math.max(0, 1 - (20 * Math.log10(peak)) / FLOOR) : 0;
}

/** How long each answer took, in milliseconds: until the turn was over, the first sound was made, and it was heard. */
export class Answers extends Plot {
  constructor(canvas) {
    super(canvas);
    this.times = new Map();
  }

  /** Some of the times of answer `id`. */
  put(id, times) {
    this.times.set(id, { ...this.times.get(id), ...times });
    if (this.times.size > ANSWERS) {
      this.times.delete(this.times.keys().next().value);
    }
    const last = [...this.times.values()].at(-1);
    const said = Object.entries({ "turn over": last.endpoint, "first sound": last.first, heard: last.heard });
    const known = said.filter(([, value]) => value !== undefined);
    const words = known.map(([name, value]) => `${name} ${Math.round(value)}`).join(", ");
    this.canvas.setAttribute("aria-label", `Latency of the last answers; of the last one, in milliseconds: ${words}`);
    this.draw();
  }

  draw() {
    const size = this.fresh();
    const all = [...this.times.values()];
    const y = this.axis(Math.max(500, ...all.flatMap((one) => [one.first ?? 0, one.heard ?? 0])), size);
    const wide = (size[0] - LEFT) / ANSWERS;
    all.forEach(({ endpoint = 0, first = endpoint, heard = first }, k) => {
      const x = LEFT + k * wide + wide * 0.15;
      let from = 0;
      for (const [until, colour] of [[endpoint, "endpoint"], [first, "mine"], [heard, "theirs"]]) {
        if (until > from) {
          this.bar(x, y(until), wide * 0.7, y(from) - y(until), colour);
          from = until;
        }
      }
    });
  }
}

/** Round trip, buffer and its target over the last minute, in milliseconds. */
export class Network extends Plot {
  constructor(canvas) {
    super(canvas);
    this.series = { mine: [], theirs: [], endpoint: [] };
    this.drawn = 0;
  }

  /** Values of now: `trip`, `buffer`, `aim`; those that are not known are left out. */
  put({ trip, buffer, aim }) {
    const now = performance.now() / 1000;
    for (const [name, value] of [["mine", trip], ["theirs", buffer], ["endpoint", aim]]) {
      const points = this.series[name];
      if (Number.isFinite(value)) {
        points.push([now, value]);
      }
      while (points.length && points[0][0] < now - MINUTE) {
        points.shift();
      }
    }
    if (now - this.drawn >= (still.matches ? 2 : 0.25) && !document.hidden) {
      this.drawn = now;
      this.draw();
    }
  }

  draw() {
    const size = this.fresh();
    const now = performance.now() / 1000;
    const y = this.axis(Math.max(100, ...Object.values(this.series).flat().map(([, value]) => value)), size);
    const x = (time) => size[0] - ((now - time) / MINUTE) * (size[0] - LEFT);
    for (const [colour, points] of Object.entries(this.series)) {
      Object.assign(this.pen, { strokeStyle: this.colour(colour), lineWidth: 2, lineJoin: "round" });
      this.path(points.map(([time, value]) => [Math.max(LEFT, x(time)), y(value)]));
    }
  }
}
