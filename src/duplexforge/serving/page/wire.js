/** Sound as it goes over the socket: float32 samples, little-endian, in base64. */

/** Characters that one call of a function may take as arguments everywhere. */
const SLICE = 8192;

/** The base64 of samples (Float32Array). */
export function encoded(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += SLICE) {
    text += String.fromCharCode(...bytes.subarray(at, at + SLICE));
  }
  return btoa(text);
}

/** The samples of base64. Throws for what is none. */
export function decoded(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) {
    bytes[at] = raw.charCodeAt(at);
  }
  return new Float32Array(bytes.buffer);
}
