// Pictures that were picked, and what can be done with all of them: copy or save their paths, pack them as ZIP.

import { announce, byId, copyAndTell, save, submit, toast } from "./dom.js";
import { call, sending } from "./api.js";
import { texts } from "./texts.js";

/** `index()` names the index that the pictures are of; `changed()` is called when something is picked or dropped. */
export class Selection {
  #picked = new Map();
  #last = null;

  constructor(index, changed) {
    this.index = index;
    this.changed = changed;
    byId("copy-paths").addEventListener("click", () => copyAndTell(this.#paths()));
    byId("save-paths").addEventListener("click", () => save(new Blob([`${this.#paths()}\n`]), "pictures.txt"));
    byId("save-zip").addEventListener("click", () => this.#zip());
    byId("unselect").addEventListener("click", () => this.clear());
  }

  /** Ids of what is picked. */
  get ids() {
    return new Set(this.#picked.keys());
  }

  /** Picks or drops one; with shift, all from the last one on. */
  toggle(items, index, event) {
    const item = items[index];
    const pick = !this.#picked.has(item.id);
    const from = event?.shiftKey && this.#last !== null ? Math.min(this.#last, index) : index;
    const to = event?.shiftKey && this.#last !== null ? Math.max(this.#last, index) : index;
    for (const each of items.slice(from, to + 1)) {
      if (pick) this.#picked.set(each.id, each);
      else this.#picked.delete(each.id);
    }
    this.#last = index;
    this.#show();
  }

  /** Picks or drops one that may not be among the results. */
  toggleOne(item) {
    if (!this.#picked.delete(item.id)) this.#picked.set(item.id, item);
    this.#show();
  }

  /** Drops all; false when nothing was picked. */
  clear() {
    if (!this.#picked.size) return false;
    this.#picked.clear();
    this.#last = null;
    this.#show();
    return true;
  }

  /** The order of results has changed: ranges start anew. */
  forgetRange() {
    this.#last = null;
  }

  #show() {
    const bar = byId("selection");
    bar.hidden = !this.#picked.size;
    document.body.classList.toggle("selecting", !bar.hidden);
    byId("selected").textContent = texts.selected(this.#picked.size);
    announce(texts.selected(this.#picked.size));
    this.changed();
  }

  #paths() {
    return Array.from(this.#picked.values(), ({ path, id }) => path ?? id).join("\n");
  }

  async #zip() {
    const button = byId("save-zip");
    const label = button.querySelector("span");
    button.disabled = true;
    label.textContent = texts.zipping;
    try {
      const request = { ids: [...this.#picked.keys()], index: this.index() || undefined };
      if (!isSecureContext) {
        // By plain HTTP from another machine, a browser does not say that a form comes from this page.
        const response = await call("/v1/export", sending(request));
        save(await response.blob(), "pictures.zip");
        return;
      }
      // What is wrong is said here, since the answer to a form does not come back to the page.
      await call("/v1/export", sending({ ...request, check: true }));
      submit("/v1/export", { request: JSON.stringify(request) });
    } catch (problem) {
      toast(problem.message);
    } finally {
      button.disabled = false;
      label.textContent = texts.zip;
    }
  }
}
