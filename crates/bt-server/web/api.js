// Talking to the server. Problems come as `Problem`; a missing token asks for one and then asks again.

import { texts } from "./texts.js";

/** What went wrong, in the server's words (RFC 9457). */
export class Problem extends Error {
  constructor({ title, detail, hint, status }) {
    super(detail || title || texts.failed);
    this.title = title || texts.failed;
    this.hint = hint;
    this.status = status;
  }
}

let logIn = async () => false;

/** Says who asks for a token; the function resolves to true when there is one. */
export function onLogin(ask) {
  logIn = ask;
}

/** How often a server that is busy is asked again. */
const TRIES = 3;
const isBusy = ({ status }) => status === 429 || status === 503;

/** A response that is fine. 401 asks for a token; 429 and 503 wait as long as the server says. */
export async function call(path, options = {}, tries = 0) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    // Asking to read once more changes nothing; connections break on phones and when laptops wake.
    if (!options.method && tries < 2) {
      await wait(300, options.signal);
      return call(path, options, tries + 1);
    }
    throw new Problem({ title: texts.offline, detail: texts.offlineHow, status: 0 });
  }
  if (response.ok) return response;
  if (response.status === 401 && (await logIn())) return call(path, options, tries);
  if (isBusy(response) && tries < TRIES) {
    const seconds = Math.min(Number(response.headers.get("retry-after")) || 1, 10);
    await wait(seconds * 1000, options.signal);
    return call(path, options, tries + 1);
  }
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy's own page: the status says enough.
  }
  throw new Problem({ ...body, status: response.status });
}

/** JSON of a path. */
export const json = async (path, options) => (await call(path, options)).json();

/** A JSON body. */
export const sending = (body, options = {}) => ({
  ...options,
  method: "POST",
  headers: { "content-type": "application/json", ...options.headers },
  body: JSON.stringify(body),
});

/**
 * A search whose answer grows: `on(event, data)` is called for each of candidates, progress, results. A server that
 * turns out to be busy when it has begun to answer is asked again as well.
 */
export async function stream(path, options, on) {
  const headers = { ...options.headers, accept: "text/event-stream" };
  for (let tries = 0; ; tries += 1) {
    const response = await call(path, { ...options, headers });
    try {
      return await read(response, on);
    } catch (problem) {
      if (!isBusy(problem) || tries >= TRIES) throw problem;
      await wait(1000, options.signal);
    }
  }
}

async function read(response, on) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    on("results", await response.json());
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += (value ?? "").replaceAll("\r\n", "\n");
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) dispatch(event, on);
    if (done) return;
  }
}

function dispatch(event, on) {
  let name = "message";
  const data = [];
  for (const line of event.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (!data.length) return;
  const body = JSON.parse(data.join("\n"));
  if (name === "problem") throw new Problem(body);
  on(name, body);
}

/** Waits; when the signal says so, it ends at once with the signal's reason. */
export function wait(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
