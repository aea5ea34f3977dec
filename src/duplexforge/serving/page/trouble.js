/** What went wrong, in sentences for people. */

/** An error whose message may be shown as it is. `key`: the server wants one; `again`: trying again later may help. */
export class Trouble extends Error {
  constructor(sentence, { key = false, again = false } = {}) {
    super(sentence);
    this.key = key;
    this.again = again;
  }
}

/** The sentence for whatever was thrown. */
export function sentence(error) {
  return error instanceof Trouble ? error.message : `Something unexpected happened: ${error?.message ?? error}`;
}

const MICROPHONE = {
  NotAllowedError: "The microphone was refused: allow it for this page in the browser's address bar, and connect again.",
  NotFoundError: "No microphone was found: plug one in, and connect again.",
  NotReadableError: "The microphone is in use by another program, or the system does not let the browser have it.",
};

/** Why there is no microphone. */
export function ofMicrophone(error) {
  return new Trouble(MICROPHONE[error.name] ?? `The microphone does not work: ${error.message}`);
}

/** How a connection ended, by its close code (RFC 6455); `reason` is the server's own. */
export function ofClose(code, reason) {
  const said = reason ? `: ${reason}` : "";
  if (code === 1013) {
    return new Trouble(`The server is full${said}.`, { again: true });
  }
  if (code === 1001 || code === 1012) {
    return new Trouble("The server is stopping or starting again.", { again: true });
  }
  if (code === 1006) {
    return new Trouble("The connection to the server is lost.", { again: true });
  }
  return new Trouble(`The server has ended the conversation${code === 1000 ? "" : said}.`);
}

/** What the server answered to a request, by its status. */
export function ofStatus(status, said) {
  if (status === 401) {
    return new Trouble("This server wants a key: put it in, and connect again.", { key: true });
  }
  const end = said ? `: ${said}` : ` (status ${status})`;
  return new Trouble(`The server refuses${end}.`, { again: status >= 500 });
}
