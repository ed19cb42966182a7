// The pictures of one view: the first page, refined as the server looks closer, and further pages on demand.

import { json, Problem, sending, stream, wait } from "./api.js";
import { asks, filterBody, filterParams } from "./address.js";
import { recall } from "./given.js";
import { texts } from "./texts.js";

const PAGE_SEARCH = 60;
const PAGE_BROWSE = 200;
/** Pictures are looked at closely when no further key has come for so long: until then it would be in vain. */
const SETTLED_MS = 150;

/** Fires `change` whenever there is something new to show, `problem` when a further page did not come. */
export class Feed extends EventTarget {
  /** Pictures so far, in order. */
  items = [];
  /** `waiting`, `candidates` (in the order of the embedding), `done` or `failed`. */
  phase = "waiting";
  /** How many there are in all, as far as known. */
  total = 0;
  /** The first page's document: what was looked at, the best score, warnings. */
  answer = null;
  /** What went wrong. */
  problem = null;
  /** How far the server has looked closer; what it has seen so far has `judged` set. */
  progress = null;

  #next = null;
  #more = null;
  #stop = new AbortController();

  /** `typing`: the words may go on; what the embedding finds is shown meanwhile. */
  constructor(view, { typing = false } = {}) {
    super();
    this.view = view;
    this.asked = asks(view);
    this.typing = typing && this.asked;
    /** Whether pages may be kept: a failed or left one is asked again. */
    this.complete = false;
  }

  /** Asks for the first page. */
  async start() {
    try {
      if (!this.asked) this.#take(await this.#browse(null), "done");
      else await this.#search();
      this.complete = true;
    } catch (problem) {
      this.#fail(problem);
    }
  }

  /** Whether there are further pages. */
  get hasMore() {
    return this.#next !== null;
  }

  /** Asks for the next page; at most one at a time. */
  more() {
    if (!this.hasMore || this.phase !== "done") return Promise.resolve();
    this.#more ??= this.#nextPage().finally(() => {
      this.#more = null;
    });
    return this.#more;
  }

  /** Nobody looks at it any more. */
  leave() {
    if (!this.complete) this.#stop.abort();
  }

  async #nextPage() {
    try {
      const page = this.asked ? await this.#searchPage(this.#next) : await this.#browse(this.#next);
      const known = new Set(this.items.map((item) => item.id));
      this.items.push(...page.results.filter((item) => !known.has(item.id)));
      this.#next = page.next ?? null;
      this.dispatchEvent(new Event("change"));
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.#next = null;
      this.dispatchEvent(new CustomEvent("problem", { detail: problem }));
    }
  }

  #take(page, phase) {
    this.items = page.results;
    this.total = page.matched ?? page.total;
    this.answer = page;
    this.phase = phase;
    this.#next = phase === "done" ? (page.next ?? null) : null;
    this.dispatchEvent(new Event("change"));
  }

  #fail(problem) {
    if (problem.name === "AbortError") return;
    this.problem = problem;
    this.phase = "failed";
    this.dispatchEvent(new Event("change"));
  }

  #browse(cursor) {
    const params = filterParams(this.view);
    params.set("sort", this.view.sort || "date");
    params.set("n", PAGE_BROWSE);
    if (cursor) params.set("cursor", cursor);
    return json(`/v1/browse?${params}`, { signal: this.#stop.signal });
  }

  async #search() {
    if (this.typing) {
      const { path, options } = await this.#request(null, { rerank: 0 });
      this.#take(await json(path, options), "candidates");
      await wait(SETTLED_MS, this.#stop.signal);
    }
    const { path, options } = await this.#request(null);
    await stream(path, options, (event, data) => {
      if (event === "candidates") {
        if (this.phase === "waiting") this.#take(data, "candidates");
      } else if (event === "results") this.#take(data, "done");
      else if (event === "progress") this.#judge(data);
    });
    if (this.phase !== "done") throw new Problem({ title: texts.offline, detail: texts.offlineHow, status: 0 });
  }

  /** What a closer look says of pictures; they stay where they are until all have been looked at. */
  #judge(progress) {
    this.progress = progress;
    const scores = new Map(progress.judged.map(({ id, ...score }) => [id, score]));
    this.items = this.items.map((item) => (scores.has(item.id) ? { ...item, ...scores.get(item.id), judged: true } : item));
    this.dispatchEvent(new Event("progress"));
  }

  async #searchPage(cursor) {
    const { path, options } = await this.#request(cursor);
    return json(path, options);
  }

  async #request(cursor, more = {}) {
    const { view } = this;
    const signal = this.#stop.signal;
    const body = { n: PAGE_SEARCH, filter: filterBody(view), ...more };
    if (view.text.trim()) body.text = view.text.trim();
    if (view.not.length) body.not = view.not;
    if (view.sort === "date") body.sort = "date";
    if (view.all) body.all = true;
    if (view.index) body.index = view.index;
    if (cursor) body.cursor = cursor;
    if (view.given) {
      const picture = await recall(view.given);
      if (!picture) throw new Problem({ title: texts.failed, detail: texts.pictureGone });
      const form = new FormData();
      form.append("request", new Blob([JSON.stringify(body)], { type: "application/json" }));
      form.append("image", picture, "picture");
      return { path: "/v1/search", options: { method: "POST", body: form, signal } };
    }
    if (view.like) body.image = { id: view.like };
    return { path: "/v1/search", options: sending(body, { signal }) };
  }
}
