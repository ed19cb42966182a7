// The search box: words while they are typed, a picture dropped, pasted or chosen, or both.

import { byId, el, icon, toast } from "./dom.js";
import { keep, looksLikePicture, original, recall } from "./given.js";
import { texts } from "./texts.js";

/** Another key within this time makes asking about the words so far superfluous. */
const PAUSE_MS = 30;

/** `on`: typed(text), settled(text), picture(key), noPicture(), add(file), clear(), down(). */
export class Box {
  #input = byId("text");
  #token = byId("token");
  #timer = null;
  #shown = "";
  #takesUploads = false;

  constructor(on) {
    this.on = on;
    this.#input.addEventListener("input", () => {
      this.#buttons();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => on.typed(this.#input.value), PAUSE_MS);
    });
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(this.#timer);
      on.settled(this.#input.value);
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") {
        event.preventDefault();
        on.down();
      } else if (event.key === "Backspace" && !this.#input.value && this.#shown) on.noPicture();
    });
    byId("clear").addEventListener("click", () => {
      on.clear();
      this.focus();
    });
    const file = byId("file");
    file.addEventListener("change", () => {
      this.#take(file.files[0]);
      file.value = "";
    });
    this.#drops();
  }

  /** Shows the words and the picture of a view; words that are being typed are left alone. */
  show(view) {
    if (document.activeElement !== this.#input || this.#input.value.trim() !== view.text.trim()) {
      clearTimeout(this.#timer);
      this.#input.value = view.text;
    }
    this.#showToken(view);
    this.#buttons();
  }

  /** Whether a given picture can be put into the album. */
  set takesUploads(does) {
    this.#takesUploads = does;
    this.#token.querySelector(".add")?.toggleAttribute("hidden", !does);
  }

  /** Puts the cursor into it. */
  focus() {
    this.#input.focus();
    this.#input.select();
  }

  #buttons() {
    byId("clear").hidden = !this.#input.value && !this.#shown;
  }

  async #showToken({ like, given, index }) {
    const key = like || given;
    this.#input.placeholder = key ? texts.searchHintPicture : texts.searchHint;
    if (key === this.#shown) return;
    this.#shown = key;
    if (!key) {
      this.#token.replaceChildren();
      return;
    }
    const image = el("img", { alt: like ? texts.thisPicture : texts.yourPicture });
    const file = original(given);
    const add = file && el("button.add", { type: "button", "aria-label": texts.addToAlbum, title: texts.addToAlbum,
      hidden: !this.#takesUploads, onclick: () => this.on.add(file) }, icon("add"));
    this.#token.replaceChildren(image, add ?? "", el("button", { type: "button", "aria-label": texts.removePicture,
      title: texts.removePicture, onclick: () => this.on.noPicture() }, icon("close")));
    if (like) image.src = `/v1/pictures/${like}/thumbnail?w=160${index ? `&index=${encodeURIComponent(index)}` : ""}`;
    else {
      const blob = await recall(given);
      if (blob) image.src = URL.createObjectURL(blob);
    }
  }

  async #take(file) {
    if (!file) return;
    if (!looksLikePicture(file)) {
      toast(texts.notAPicture);
      return;
    }
    this.on.picture(await keep(file));
  }

  #drops() {
    const veil = byId("veil");
    let depth = 0;
    const hasFile = (event) => event.dataTransfer?.types.includes("Files");
    const over = (change) => (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      depth = Math.max(0, depth + change);
      veil.classList.toggle("shown", depth > 0);
    };
    addEventListener("dragenter", over(1));
    addEventListener("dragleave", over(-1));
    addEventListener("dragover", (event) => hasFile(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      depth = 0;
      veil.classList.remove("shown");
      this.#take(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      const file = Array.from(event.clipboardData?.files ?? []).find(looksLikePicture);
      if (!file) return;
      event.preventDefault();
      this.#take(file);
    });
  }
}
