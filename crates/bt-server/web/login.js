// Signing in with the token, when the server asks for one, and out. The token goes into a cookie that scripts
// cannot read.

import { call, onLogin } from "./api.js";
import { byId, el, toast } from "./dom.js";
import { texts } from "./texts.js";

/** Answers 401 by a dialog; all requests that wait share it. `entered` is called when a token was taken. */
export function setUpLogin(entered = () => {}) {
  let asking = null;
  const askAndTell = async () => {
    const isIn = await ask();
    if (isIn) entered();
    return isIn;
  };
  onLogin(() => (asking ??= askAndTell().finally(() => (asking = null))));
}

/** Lets the button end the session; what the page holds of the album goes with it. */
export function setUpLogout() {
  byId("sign-out").addEventListener("click", async () => {
    try {
      await call("/session", { method: "DELETE" });
      location.replace("/");
    } catch (problem) {
      toast(problem.message);
    }
  });
}

function ask() {
  const token = el("input", { type: "password", name: "token", autocomplete: "current-password", required: true });
  // Password managers want a name to go with the password.
  const user = el("input.hidden", { name: "username", autocomplete: "username", tabindex: "-1", "aria-hidden": "true",
    value: location.host });
  const note = el("p.note", { role: "alert" });
  const form = el("form", {}, el("h2", { id: "login-title" }, texts.login), el("p", {}, texts.loginHow), user,
    el("label.field", {}, el("span", {}, texts.token), token), note, el("button.primary", {}, texts.enter));
  const dialog = el("dialog.card", { id: "login", "aria-labelledby": "login-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  token.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const wrong = await send(token.value);
      if (!wrong) {
        dialog.close("in");
        return;
      }
      note.textContent = wrong;
      token.select();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "in");
    });
  });
}

/** Sends the token; null when the server takes it, else what to say. */
async function send(token) {
  let response;
  try {
    response = await fetch("/session", { method: "POST", credentials: "same-origin",
      headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) });
  } catch {
    return texts.offline;
  }
  if (response.ok) return null;
  return response.status === 401 || response.status === 403 ? texts.wrongToken : texts.failed;
}
