// Why a picture: for each word, where the model looked, painted over the picture.

import { el, icon } from "./dom.js";
import { json } from "./api.js";
import { texts } from "./texts.js";

/** The panel in the viewer, and the overlay on its stage. */
export class Heat {
  #stage;
  #item = null;
  #host = null;
  #stop = null;
  #asking = null;
  #on = false;

  constructor(stage) {
    this.#stage = stage;
  }

  /** Prepares the panel of a picture; while heat is on, the next picture shows it at once. */
  show(item, text, host) {
    this.#item = item;
    this.#host = host;
    this.#asking = null;
    const input = el("input", { name: "text", value: text, placeholder: texts.whyHint, "aria-label": texts.whyHint,
      autocomplete: "off" });
    const form = el("form", { onsubmit: (event) => {
      event.preventDefault();
      this.#ask(input.value.trim());
    } }, input, el("button.button", { type: "submit", id: "act-why" }, icon("heat"), el("span", {}, texts.whyShow)));
    host.replaceChildren(el("h3", { id: "heat-title" }, texts.why), form, el("div.heat-words", {}));
    if (this.#on && text) this.#ask(text);
  }

  /** On or off. */
  toggle() {
    if (this.#on) this.off();
    else this.#host?.querySelector("form")?.requestSubmit();
  }

  /** Takes the heat away. */
  off() {
    this.#stop?.abort();
    this.#asking = null;
    this.#on = false;
    // Two of them while one word's gives way to the next one's.
    for (const overlay of this.#overlays()) overlay.remove();
    this.#host?.querySelector(".heat-words")?.replaceChildren();
  }

  async #ask(text) {
    if (!text) {
      this.#host.querySelector("input").focus();
      return;
    }
    const { id, file } = this.#item;
    // Pressed once more, it is on its way already.
    if (this.#asking === id + text) return;
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#asking = id + text;
    this.#on = true;
    const place = this.#host.querySelector(".heat-words");
    place.replaceChildren(el("p.panel-note", { role: "status" }, texts.searching));
    try {
      const params = new URLSearchParams({ q: text });
      const index = new URL(file, location.origin).searchParams.get("index");
      if (index) params.set("index", index);
      const { words } = await json(`/v1/pictures/${id}/why?${params}`, { signal: stop.signal });
      if (!words.length) {
        place.replaceChildren(el("p.panel-note", {}, texts.whyNone));
        return;
      }
      this.#words(place, words);
    } catch (problem) {
      if (problem.name !== "AbortError") place.replaceChildren(el("p.panel-note", { role: "alert" }, problem.message));
    } finally {
      if (this.#stop === stop) this.#asking = null;
    }
  }

  #words(place, words) {
    const buttons = words.map(({ word, url }) => el("button.word", { type: "button", "aria-pressed": "false",
      onclick: () => choose(words.findIndex((other) => other.url === url)) }, word));
    const plain = el("button.word.plain", { type: "button", onclick: () => this.off() }, texts.whyOff);
    const choose = (chosen) => {
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
      this.#paint(words[chosen]);
    };
    place.replaceChildren(el("div.words", { role: "group", "aria-label": texts.whyWords }, buttons, plain),
      el("p.panel-note", {}, texts.whyHow));
    choose(0);
  }

  #paint({ word, url }) {
    const large = this.#stage.querySelector(".large");
    if (!large) return;
    const older = this.#overlays();
    const overlay = el("img.large.overlay", { alt: word, src: url, width: this.#item.width, height: this.#item.height });
    overlay.style.cssText = large.style.cssText;
    overlay.addEventListener("load", () => {
      overlay.classList.add("there");
      setTimeout(() => older.forEach((old) => old.remove()), 250);
    }, { once: true });
    this.#stage.append(overlay);
  }

  #overlays() {
    return [...this.#stage.querySelectorAll(".overlay")];
  }
}
