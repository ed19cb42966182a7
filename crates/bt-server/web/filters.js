// The chips below the search box: folder, date, camera, type, without; each opens a small panel with counts.

import { byId, el, icon } from "./dom.js";
import { json } from "./api.js";
import { asks, filterParams } from "./address.js";
import { dateWords, texts } from "./texts.js";

const KINDS = ["folder", "date", "camera", "type", "without"];
const LONG_LIST = 12;

/** Draws the chips; `change(patch)` is called with the fields of the view that a filter sets. */
export class Filters {
  #row = byId("chips");
  #panel = byId("panel");
  #openKind = null;
  #stop = null;
  #focusWasIn = false;

  constructor(change) {
    this.change = change;
    this.#panel.addEventListener("beforetoggle", () => {
      this.#focusWasIn = this.#panel.contains(document.activeElement);
    });
    this.#panel.addEventListener("toggle", (event) => {
      if (event.newState === "open") return;
      this.#stop?.abort();
      const main = this.#main(this.#openKind);
      main?.setAttribute("aria-expanded", "false");
      // The browser gives the focus back to the chip that was there before the filter changed, which is to nothing.
      const { activeElement } = document;
      const lost = activeElement === document.body || this.#panel.contains(activeElement);
      if (this.#focusWasIn && lost) main?.focus();
      this.#openKind = null;
    });
    addEventListener("resize", () => this.#openKind && this.#place());
  }

  /** Draws the chips of a view. */
  show(view) {
    this.view = view;
    const focused = document.activeElement?.closest?.(".chip")?.dataset.kind;
    const chips = KINDS.filter((kind) => kind !== "without" || asks(view)).map((kind) => this.#chip(kind));
    this.#row.replaceChildren(...chips);
    if (focused && !this.#openKind) this.#main(focused)?.focus();
  }

  /** Closes the panel; false when none was open. */
  close() {
    if (!this.#openKind) return false;
    this.#panel.hidePopover();
    return true;
  }

  /** The button of a chip: another one after each change of the filters. */
  #main(kind) {
    return this.#row.querySelector(`[data-kind="${kind}"] .chip-main`);
  }

  #chip(kind) {
    const value = this.#value(kind);
    const label = value ? texts.filterValue(texts[kind], value) : texts[kind];
    const main = el("button.chip-main", { type: "button", "aria-haspopup": "dialog",
      "aria-expanded": String(this.#openKind === kind), onclick: () => this.#toggle(kind) },
      icon(kind), el("span", {}, label));
    const remove = value && el("button.chip-remove", { type: "button", "aria-label": texts.removeFilter(texts[kind]),
      onclick: () => this.change(NONE[kind]) }, icon("close"));
    return el(value ? "span.chip.on" : "span.chip", { "data-kind": kind }, main, remove);
  }

  #value(kind) {
    const { folders, types, not, camera, after, before } = this.view;
    const list = (values, many, name = (value) => value) =>
      values.length > 1 ? texts.several(values.length, many) : values.map(name)[0];
    switch (kind) {
      case "folder": return list(folders, texts.foldersMany, (path) => path.split(/[/\\]/).pop());
      case "type": return list(types, texts.typesMany);
      case "camera": return camera;
      case "without": return not.join(", ");
      default: return dateValue(after, before);
    }
  }

  async #toggle(kind) {
    const same = this.#openKind === kind;
    if (this.#openKind) this.#panel.hidePopover();
    if (same) return;
    this.#openKind = kind;
    this.#panel.setAttribute("aria-label", texts[kind]);
    this.#main(kind).setAttribute("aria-expanded", "true");
    if (kind === "without") this.#panel.replaceChildren(this.#withoutPanel());
    else this.#panel.replaceChildren(el("div.panel-wait", { role: "status" }, texts.searching));
    this.#panel.showPopover();
    this.#place();
    if (kind !== "without") await this.#fillPanel(kind);
    if (this.#openKind !== kind) return;
    this.#place();
    this.#panel.querySelector("input, button")?.focus({ preventScroll: true });
  }

  async #fillPanel(kind) {
    this.#stop = new AbortController();
    try {
      const facets = await json(`/v1/facets?${filterParams(this.view, kind)}`, { signal: this.#stop.signal });
      if (this.#openKind !== kind) return;
      const build = { folder: () => this.#folders(facets), date: () => this.#dates(facets),
        camera: () => this.#cameras(facets), type: () => this.#types(facets) };
      this.#panel.replaceChildren(build[kind]());
    } catch (problem) {
      if (problem.name !== "AbortError") this.#panel.replaceChildren(el("p.panel-note", {}, problem.message));
    }
  }

  #place() {
    const anchor = this.#row.querySelector(`[data-kind="${this.#openKind}"]`).getBoundingClientRect();
    const { style, offsetWidth } = this.#panel;
    style.top = `${Math.round(anchor.bottom + 8)}px`;
    style.left = `${Math.round(Math.max(12, Math.min(anchor.left, innerWidth - offsetWidth - 12)))}px`;
    style.maxHeight = `${Math.round(innerHeight - anchor.bottom - 24)}px`;
  }

  #folders({ folders }) {
    const rows = folders.map(({ folder, name, count }) => ({ value: folder, shown: name || folder, count,
      checked: this.view.folders.includes(folder) }));
    return this.#checks(rows, "folders");
  }

  #types({ types }) {
    return this.#checks(types.map(({ type, count }) => ({ value: type, shown: type.toUpperCase(), count,
      checked: this.view.types.includes(type) })), "types");
  }

  #cameras({ cameras }) {
    if (!cameras.length) return el("p.panel-note", {}, texts.noFacet);
    const rows = cameras.map(({ camera, count }) => ({ value: camera, shown: camera, count,
      checked: this.view.camera === camera }));
    return list(rows, "radio", (value, checked) => this.change({ camera: checked ? value : "" }));
  }

  #checks(rows, field) {
    if (!rows.length) return el("p.panel-note", {}, texts.noFacet);
    return list(rows, "checkbox", (value, checked) => {
      const rest = this.view[field].filter((other) => other !== value);
      this.change({ [field]: checked ? [...rest, value] : rest });
    });
  }

  #dates({ months }) {
    const { after, before } = this.view;
    const field = (name, value) => el("label.field", {}, el("span", {}, texts[name === "after" ? "from" : "to"]),
      el("input", { name, value, placeholder: "2024-07", pattern: "\\d{4}(-\\d\\d(-\\d\\d)?)?", title: texts.dateHint,
        autocomplete: "off", inputmode: "numeric" }));
    const form = el("form.dates", { onsubmit: (event) => {
      event.preventDefault();
      const values = new FormData(form);
      this.change({ after: values.get("after"), before: values.get("before") });
      this.close();
    } }, el("div.fields", {}, field("after", after), field("before", before)),
      el("button.primary", { type: "submit" }, texts.apply));
    const years = months.length ? this.#years(months) : el("p.panel-note", {}, texts.noFacet);
    return el("div", {}, years, form);
  }

  /** A bar for each month, a row for each year; a click chooses. */
  #years(months) {
    const most = Math.max(...months.map(({ count }) => count));
    const byYear = new Map();
    for (const { month, count } of months) {
      const [year, number] = month.split("-").map(Number);
      if (!byYear.has(year)) byYear.set(year, { total: 0, months: Array(12).fill(0) });
      byYear.get(year).total += count;
      byYear.get(year).months[number - 1] = count;
    }
    const choose = (after, before) => {
      this.change({ after, before });
      this.close();
    };
    const bar = (year, month, count) => {
      const start = `${year}-${String(month + 1).padStart(2, "0")}`;
      const end = month === 11 ? `${year + 1}-01` : `${year}-${String(month + 2).padStart(2, "0")}`;
      const node = el("button.bar", { type: "button", disabled: !count, title: texts.photographs(dateWords(start), count),
        "aria-label": texts.photographs(dateWords(start), count), onclick: () => choose(start, end) }, el("i", {}));
      node.firstChild.style.height = `${count ? Math.max(12, (count / most) * 100) : 4}%`;
      return node;
    };
    const rows = Array.from(byYear).sort((a, b) => b[0] - a[0]).map(([year, { total, months: counts }]) =>
      el("div.year", {},
        el("button.year-name", { type: "button", onclick: () => choose(`${year}`, `${year + 1}`) },
          el("b", {}, year), el("span", {}, texts.count(total))),
        el("div.bars", {}, counts.map((count, month) => bar(year, month, count)))));
    return el("div.years", {}, rows);
  }

  #withoutPanel() {
    const { not } = this.view;
    const input = el("input", { name: "not", placeholder: texts.withoutHint, "aria-label": texts.withoutHint,
      autocomplete: "off" });
    const form = el("form.without", { onsubmit: (event) => {
      event.preventDefault();
      const word = input.value.trim();
      if (word && !this.view.not.includes(word)) this.change({ not: [...this.view.not, word] });
      this.close();
    } }, input, el("button.primary", { type: "submit" }, texts.add));
    const words = not.map((word) => el("button.word", { type: "button", "aria-label": texts.removeFilter(word),
      onclick: () => {
        this.change({ not: this.view.not.filter((other) => other !== word) });
        this.close();
      } }, word, icon("close")));
    return el("div", {}, form, words.length ? el("div.words", {}, words) : el("p.panel-note", {}, texts.withoutHow));
  }
}

/** What each filter is when it is off. */
const NONE = { folder: { folders: [] }, date: { after: "", before: "" }, camera: { camera: "" }, type: { types: [] },
  without: { not: [] } };

function list(rows, type, choose) {
  const options = rows.map(({ value, shown, count, checked }) => {
    const input = el("input", { type, name: "facet", value, checked });
    input.addEventListener("click", () => choose(value, input.checked));
    return el("label.option", {}, input, el("span.option-name", { title: value }, shown),
      el("span.option-count", {}, texts.count(count)));
  });
  const box = el("div.options", {}, options);
  if (rows.length <= LONG_LIST) return box;
  const find = el("input.find", { type: "search", placeholder: texts.findIn, "aria-label": texts.findIn,
    oninput: () => {
      const wanted = find.value.toLowerCase();
      options.forEach((option, i) => (option.hidden = !rows[i].shown.toLowerCase().includes(wanted)));
    } });
  return el("div", {}, find, box);
}

function dateValue(after, before) {
  const year = (date) => /^\d{4}$/.test(date) && Number(date);
  if (year(after) && year(before) === year(after) + 1) return after;
  if (/^\d{4}-\d\d$/.test(after) && before === nextMonth(after)) return dateWords(after);
  if (after && before) return texts.between(dateWords(after), dateWords(before));
  if (after) return texts.since(dateWords(after));
  return before && texts.until(dateWords(before));
}

function nextMonth(month) {
  const [year, number] = month.split("-").map(Number);
  return number === 12 ? `${year + 1}-01` : `${year}-${String(number + 1).padStart(2, "0")}`;
}
