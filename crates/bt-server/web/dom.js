// Making and finding elements. No markup is ever made of strings, so nothing that the server says can become markup.

import { texts } from "./texts.js";

/** An element: `el("a.card", { href, onclick, "aria-label": … }, …children)`. */
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  node.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An icon of the sheet in index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.classList.add("icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** The element with this id; the page is wrong without it. */
export const byId = (id) => document.getElementById(id);

/** Puts the texts into the markup that names them. */
export function fillTexts(root = document) {
  for (const node of root.querySelectorAll("[data-text]")) node.textContent = texts[node.dataset.text];
  for (const node of root.querySelectorAll("[data-hint]")) node.placeholder = texts[node.dataset.hint];
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", texts[node.dataset.label]);
    if (node.matches("button, label, a")) node.title = texts[node.dataset.label];
  }
}

/** Whether motion should be left out. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Says something to screen readers. */
export function announce(text) {
  byId("announce").textContent = text;
}

let toastTimer;

/** A short word at the bottom of the page, and to screen readers. */
export function toast(text) {
  const node = byId("toast");
  node.textContent = text;
  // Hidden and shown again, it lies above a dialog that was opened meanwhile.
  node.hidePopover();
  node.showPopover();
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => node.hidePopover(), 3200);
  announce(text);
}

/** Puts a text into the clipboard, also where the page is not a secure context. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const host = document.querySelector("dialog[open]") ?? document.body;
    const area = el("textarea.hidden", { "aria-hidden": "true" });
    area.value = text;
    host.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Copies and says so. */
export async function copyAndTell(text) {
  toast((await copy(text)) ? texts.copied : texts.copyFailed);
}

/** Saves a blob under a name. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Sends a form whose answer is a file: the browser writes it to the disk as it comes, however large it is. */
export function submit(path, fields) {
  const inputs = Object.entries(fields).map(([name, value]) => el("input", { type: "hidden", name, value }));
  const form = el("form", { method: "post", action: path, hidden: true }, ...inputs);
  document.body.append(form);
  form.submit();
  form.remove();
}
