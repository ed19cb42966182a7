// One picture, large: what is known of it, why it was found, what can be done with it.

import { byId, copyAndTell, el, icon } from "./dom.js";
import { json } from "./api.js";
import { Heat } from "./heat.js";
import { describe, fileName, score, thumbnail } from "./picture.js";
import { momentWords, texts } from "./texts.js";

/** Formats that browsers show; others are shown by their largest thumbnail. */
const SHOWN = new Set(["jpeg", "png", "gif", "webp", "bmp"]);
const LARGEST_THUMBNAIL = 1024;

/** `on`: close(), step(±1), similar(item), toggle(item), place(item) -> [index, total] or null, selected(id). */
export class Viewer {
  #dialog = byId("viewer");
  #stage = byId("stage");
  #item = null;

  constructor(on) {
    this.on = on;
    this.heat = new Heat(this.#stage);
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      on.close();
    });
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog || event.target === this.#stage) on.close();
    });
    byId("viewer-close").addEventListener("click", () => on.close());
    byId("viewer-previous").addEventListener("click", () => on.step(-1));
    byId("viewer-next").addEventListener("click", () => on.step(1));
    this.#swipes();
  }

  /** Shows a picture; of the view come what was asked, for the heat map, and the index. */
  async show(id, item, { text, index }) {
    // A record that was fetched alone knows no score and no neighbours: those come with the results.
    if (this.#item?.id === id && this.#dialog.open && (!item || this.#item === item)) return;
    const alone = this.#item?.id === id && this.#item.thumbnail;
    this.#item = item ?? { id };
    this.#text = text.trim();
    if (!this.#dialog.open) this.#dialog.showModal();
    if (item && alone) this.#tell(item);
    else if (item) this.#draw(item);
    else await this.#fetch(id, index);
  }

  #text = "";

  async #fetch(id, index) {
    try {
      const item = await json(`/v1/pictures/${id}${index ? `?index=${encodeURIComponent(index)}` : ""}`);
      if (this.#item?.id !== id) return;
      this.#item = item;
      this.#draw(item);
    } catch (problem) {
      this.#stage.replaceChildren(el("p.stage-note", {}, problem.message));
      byId("details").replaceChildren();
    }
  }

  /** Closes it; false when it was not open. */
  hide() {
    if (!this.#dialog.open) return false;
    this.#item = null;
    this.heat.off();
    this.#dialog.close();
    return true;
  }

  /** Draws again what depends on the selection. */
  mark() {
    const button = byId("act-select");
    if (!button || !this.#item) return;
    const on = this.on.selected(this.#item.id);
    button.setAttribute("aria-pressed", String(on));
    button.lastChild.textContent = on ? texts.selectedOne : texts.selectOne;
  }

  #draw(item) {
    const picture = el("img.large", { alt: item.captions?.[0] ?? fileName(item), width: item.width, height: item.height });
    const backdrop = el("img.soft", { alt: "", "aria-hidden": "true", src: thumbnail(item, 160) });
    picture.addEventListener("load", () => picture.classList.add("there"), { once: true });
    picture.src = SHOWN.has(item.format) ? item.file : thumbnail(item, LARGEST_THUMBNAIL);
    picture.addEventListener("error", () => (picture.src = thumbnail(item, LARGEST_THUMBNAIL)), { once: true });
    this.#stage.replaceChildren(backdrop, picture);
    this.#fit(picture, item);
    this.#tell(item);
  }

  /** All but the picture itself. */
  #tell(item) {
    const place = this.on.place(item);
    const where = place ? texts.place(place[0] + 1, place[1]) : "";
    byId("viewer-place").textContent = where;
    // What lies below a modal dialog is not announced, so the dialog says it itself.
    byId("viewer-said").textContent = texts.name([describe(item, score(item)), where]);
    byId("viewer-previous").disabled = !place || place[0] === 0;
    byId("viewer-next").disabled = !place || place[0] + 1 >= place[1];
    byId("details").replaceChildren(...this.#details(item));
    byId("details").parentElement.scrollTop = 0;
    this.heat.show(item, this.#text, byId("heat"));
    this.mark();
  }

  /** Small pictures are enlarged up to three times, never cropped. */
  #fit(picture, { width, height }) {
    picture.style.setProperty("--ratio", width / height);
    picture.style.setProperty("--widest", `${Math.max(width, 320) * 3}px`);
  }

  #details(item) {
    const said = score(item);
    const meter = said && item.probability !== undefined && el("div.meter", { "aria-hidden": "true" }, el("i", {}));
    if (meter) meter.firstChild.style.width = `${Math.max(1, said.value * 100)}%`;
    const file = el("a.button", { href: `${item.file}${item.file.includes("?") ? "&" : "?"}download=1`,
      download: fileName(item), id: "act-download" }, icon("download"), el("span", {}, texts.download));
    const act = (id, name, text, onclick, more = {}) =>
      el("button.button", { type: "button", id, onclick, ...more }, icon(name), el("span", {}, text));
    return [
      el("h2", {}, fileName(item)),
      said && el("p.verdict", {}, el("b", {}, said.name), meter, el("span", {}, said.long)),
      ...(item.captions ?? []).slice(0, 3).map((caption) => el("p.caption", {}, caption)),
      el("div.acts", {},
        act("act-similar", "similar", texts.similar, () => this.on.similar(item), { title: texts.similarLong }),
        act("act-select", "check", texts.selectOne, () => this.on.toggle(item)),
        act("act-copy", "copy", texts.copyPath, () => copyAndTell(item.path ?? item.id)),
        file),
      el("section.heat", { id: "heat", "aria-labelledby": "heat-title" }),
      facts(item),
    ].filter(Boolean);
  }

  #key(event) {
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    const keys = {
      ArrowLeft: () => this.on.step(-1),
      ArrowRight: () => this.on.step(1),
      s: () => this.on.similar(this.#item),
      w: () => this.heat.toggle(),
      c: () => copyAndTell(this.#item.path ?? this.#item.id),
      d: () => byId("act-download")?.click(),
      x: () => this.on.toggle(this.#item),
    };
    const does = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!does || !this.#item) return;
    event.preventDefault();
    does();
  }

  #swipes() {
    let start = null;
    this.#stage.addEventListener("touchstart", (event) => {
      start = event.touches.length === 1 ? event.touches[0] : null;
    }, { passive: true });
    this.#stage.addEventListener("touchend", (event) => {
      if (!start) return;
      const end = event.changedTouches[0];
      const [dx, dy] = [end.clientX - start.clientX, end.clientY - start.clientY];
      if (Math.abs(dx) > 48 && Math.abs(dx) > 2 * Math.abs(dy)) this.on.step(dx > 0 ? -1 : 1);
      start = null;
    });
  }
}

/** What is known of a picture, as a list of names and values. */
function facts(item) {
  const map = item.latitude !== undefined && texts.coordinates(item.latitude, item.longitude);
  const rows = [
    [texts.taken, item.taken && momentWords(item.taken)],
    [texts.camera, item.camera],
    [texts.lens, item.lens],
    [texts.size, texts.pixels(item.width, item.height)],
    [texts.file, [item.format.toUpperCase(), item.bytes && texts.fileSize(item.bytes)].filter(Boolean).join(" · ")],
    [texts.location, map],
    [texts.keywords, item.keywords?.join(", ")],
    [texts.damaged, item.damaged],
    [texts.path, item.path ?? texts.noFolder],
    ...(item.also_at ?? []).map((path) => [texts.alsoAt, path]),
  ].filter(([, value]) => value);
  return el("dl.facts", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
