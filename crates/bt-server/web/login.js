// The token, when the server asks for one. It goes into a cookie that scripts cannot read.

import { onLogin } from "./api.js";
import { byId } from "./dom.js";
import { texts } from "./texts.js";

/** Answers 401 by a dialog; all requests that wait share it. */
export function setUpLogin() {
  let asking = null;
  onLogin(() => (asking ??= ask().finally(() => (asking = null))));
}

function ask() {
  const dialog = byId("login");
  const form = dialog.querySelector("form");
  const token = byId("token-field");
  const note = byId("login-note");
  note.textContent = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const stop = new AbortController();
    const finish = (answer) => {
      stop.abort();
      token.value = "";
      dialog.close();
      resolve(answer);
    };
    dialog.addEventListener("cancel", () => finish(false), { signal: stop.signal });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const response = await fetch("/session", { method: "POST", credentials: "same-origin",
        headers: { "content-type": "application/json" }, body: JSON.stringify({ token: token.value }) }).catch(() => null);
      if (response?.ok) finish(true);
      else {
        note.textContent = response?.status === 401 ? texts.wrongToken : texts.offline;
        token.select();
      }
    }, { signal: stop.signal });
  });
}
