/** The form of settings, and the session's configuration that it stands for. */

const NUMBERS = ["blend", "pitch", "energy", "rate", "silence", "vad_threshold"];
const CHOICES = ["mode", "speaker", "other", "emotion", "accent", "turns"];
const VOICE = ["speaker", "other", "emotion", "accent"];
const CONTROLS = ["pitch", "energy", "rate"];

/** `changed` gets the part of the configuration that the user has changed. */
export class Settings {
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    this.offer({});
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.label());
    form.addEventListener("change", ({ target }) => this.change(target));
    // Browsers keep what was put in over a reload; a session begins with what is shown.
    form.reset();
    this.label();
  }

  /** What the server offers; what it has not is not shown. */
  offer({ speakers = [], emotions = [], accents = [], controls = {} }) {
    const voices = speakers.map(({ key, name, pitch }) => [key, pitch ? `${name}, ${Math.round(pitch)} Hz` : name]);
    this.fill("speaker", voices);
    this.fill("other", speakers.length > 1 ? [["", "no other"], ...voices] : []);
    this.fill("emotion", emotions.map((one) => [one, words(one)]));
    const kinds = accents.map((one) => [one, words(one)]);
    this.fill("accent", accents.length ? [["", "as the emotion says"], ...kinds] : []);
    for (const name of CONTROLS) {
      const [least, most] = controls[name] ?? [];
      this.show(name, least !== undefined);
      if (least !== undefined) {
        Object.assign(this.field(name), { min: least, max: most });
      }
    }
    this.label();
  }

  /** The whole configuration. */
  config() {
    const names = [...CHOICES, ...NUMBERS, "interruption"].filter((name) => this.has(name));
    const found = Object.fromEntries(names.map((name) => [name, this.value(name)]));
    if (found.other === "") {
      // There is no name for no voice: a second one that has no share is none.
      delete found.other;
      found.blend = 0;
    }
    return found;
  }

  /** The settings that the server says hold. */
  settled(config) {
    for (const [name, value] of Object.entries(config)) {
      // What is under the user's finger stays where it is.
      if (this.has(name) && this.field(name) !== document.activeElement) {
        this.set(name, value);
      }
    }
    this.label();
  }

  /** Whether the microphone is to be taken as it is, and the session's name: for the next connection. */
  get next() {
    return { plain: this.field("plain").checked, name: this.field("session").value.trim() };
  }

  /** Whether the name can be one. */
  get fits() {
    return this.field("session").reportValidity();
  }

  change(target) {
    const names = target.name === "other" ? ["other", "blend"] : [target.name];
    // The model speaks an accent in the neutral emotion alone.
    if (target.name === "accent" && target.value && this.has("emotion")) {
      this.set("emotion", this.neutral());
      names.push("emotion");
    } else if (target.name === "emotion" && target.value !== this.neutral() && this.has("accent")) {
      this.set("accent", "");
      names.push("accent");
    }
    this.label();
    const config = this.config();
    const part = Object.fromEntries(names.filter((name) => name in config).map((name) => [name, config[name]]));
    if (Object.keys(part).length) {
      this.changed(part);
    }
  }

  neutral() {
    return this.field("emotion").options[0]?.value ?? "";
  }

  field(name) {
    return this.form.elements[name];
  }

  has(name) {
    const field = this.field(name);
    return Boolean(field) && (name === "mode" || !field.closest(".field")?.dataset.absent);
  }

  value(name) {
    const field = this.field(name);
    if (name === "interruption") {
      return field.checked;
    }
    return NUMBERS.includes(name) ? Number(field.value) : field.value;
  }

  set(name, value) {
    if (name === "interruption") {
      this.field(name).checked = value;
    } else if (name === "mode" || VOICE.includes(name) || name === "turns" || NUMBERS.includes(name)) {
      this.field(name).value = value;
    }
    // A voice that the server chose by itself is its first one.
    if (VOICE.includes(name) && this.field(name).selectedIndex < 0) {
      this.field(name).selectedIndex = 0;
    }
  }

  fill(name, pairs) {
    const field = this.field(name);
    const before = field.value;
    field.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
    field.value = before;
    if (field.selectedIndex < 0) {
      field.selectedIndex = 0;
    }
    this.show(name, pairs.length > 0);
  }

  show(name, on) {
    const box = this.field(name).closest(".field");
    box.hidden = !on;
    box.dataset.absent = on ? "" : "yes";
  }

  /** Write each slider's value beside it; the share of a second voice matters only where there is one. */
  label() {
    for (const name of NUMBERS) {
      this.form.querySelector(`output[for="${name}"]`).textContent = Number(this.field(name).value).toFixed(2);
    }
    this.show("blend", this.has("other") && this.field("other").value !== "");
  }
}

function words(key) {
  return key.replaceAll("_", ", ");
}
