// Joins the parts: the address says what is shown, the parts say what should change, and the address changes.

import { asks, everything, filtered, read, resultsKey, unfiltered, write } from "./address.js";
import { json } from "./api.js";
import { Box } from "./box.js";
import { byId, copyAndTell, el, fillTexts, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { setUpLogin, setUpLogout } from "./login.js";
import { folderOf } from "./picture.js";
import { Selection } from "./selection.js";
import { Status } from "./status.js";
import { dateWords, texts } from "./texts.js";
import { setUpTheme } from "./theme.js";
import { Viewer } from "./viewer.js";

const KEPT_FEEDS = 12;
/** What a view without a question has. */
const unasked = { text: "", like: "", given: "", not: [], all: false };

let view = read(location.search);
let feed = null;
/** Feeds that were left complete, by key: going back is instant. */
const feeds = new Map();
/** Whether the newest history entry was made by typing: further typing replaces it. */
let typing = false;

fillTexts();
setUpTheme();
setUpLogin(() => offerRights());
setUpLogout();
history.scrollRestoration = "manual";

const selection = new Selection(() => view.index, () => {
  grid.mark(selection.ids);
  viewer.mark();
});

const grid = new Grid({
  open: (index) => go({ open: feed.items[index].id }),
  toggle: (index, event) => selection.toggle(feed.items, index, event),
  need: async () => {
    status.busy(true);
    await feed.more();
    status.busy(feed.phase !== "done");
  },
  leave: () => box.focus(),
  key: gridKey,
});

const viewer = new Viewer({
  close: closeViewer,
  step,
  similar: (item) => go({ ...everything, index: view.index, like: item.id }),
  toggle: (item) => selection.toggleOne(item),
  selected: (id) => selection.ids.has(id),
  place: (item) => {
    const at = feed.items.findIndex(({ id }) => id === item.id);
    return at < 0 ? null : [at, Math.max(feed.total, feed.items.length)];
  },
});

const filters = new Filters((patch) => go(patch));
const status = new Status({
  change: (patch) => go(patch),
  unfilter: () => go(unfiltered(view)),
  again: () => {
    feed = null;
    render();
  },
});

const box = new Box({
  typed: (text) => {
    if (text.trim() === view.text.trim()) return;
    go({ text, all: false }, { replace: typing, more: true });
  },
  settled: (text) => {
    if (text.trim() !== view.text.trim()) go({ text, all: false }, { replace: typing });
    typing = false;
    if (matchMedia("(pointer: coarse)").matches) document.activeElement.blur();
  },
  picture: (given) => go({ given, like: "", all: false }),
  noPicture: () => go({ given: "", like: "" }),
  add: (file) => addToAlbum(file).catch((problem) => toast(problem.message)),
  clear: () => go(unasked),
  down: () => grid.focus(grid.current),
});

/** Shows another view and remembers it in the history. `more`: more keys may follow. */
function go(patch, { replace = false, more = false } = {}) {
  const next = { ...view, ...patch };
  // Orders of the album are not those of results.
  if (asks(next) !== asks(view) && !("sort" in patch)) next.sort = "";
  if (!("open" in patch)) next.open = "";
  if (write(next) === write(view)) return;
  history.replaceState({ ...history.state, scroll: scrollY, current: grid.current }, "");
  if (replace) history.replaceState(history.state, "", write(next));
  else history.pushState({ inside: true }, "", write(next));
  typing = more;
  const same = resultsKey(next) === resultsKey(view);
  turnTo(next);
  if (!same) scrollTo({ top: 0 });
}

/** Makes another view the present one. What is picked does not go along into another index, which lacks it. */
function turnTo(next) {
  if (next.index !== view.index) selection.clear();
  view = next;
  render();
}

addEventListener("popstate", ({ state }) => {
  const opened = view.open;
  typing = false;
  filters.close();
  turnTo(read(location.search));
  if (opened && !view.open) restoreFocus(opened);
  else if (state?.scroll !== undefined) scrollTo({ top: state.scroll });
});

/** Makes the page show `view`. */
function render() {
  const key = resultsKey(view);
  if (feed?.key !== key) {
    if (feed) leaveFeed();
    startFeed(key);
  }
  box.show(view);
  filters.show(view);
  showIndex();
  if (view.open) viewer.show(view.open, feed.items.find(({ id }) => id === view.open), view);
  else viewer.hide();
  document.title = view.text.trim() ? `${view.text.trim()} – ${texts.title}` : texts.title;
}

function startFeed(key) {
  const kept = feeds.get(key);
  feed = kept ?? new Feed(view, { typing });
  feed.key = key;
  const mine = feed;
  feed.onchange ??= () => {
    if (feed !== mine) return;
    if (mine.refined) grid.extend();
    else grid.show(mine, headingOf());
    mine.refined = mine.phase === "done";
    grid.mark(selection.ids);
    status.show(view, mine);
    if (view.open) viewer.show(view.open, mine.items.find(({ id }) => id === view.open), view);
  };
  if (kept) {
    grid.show(feed, headingOf());
    grid.mark(selection.ids);
    status.show(view, feed);
    return;
  }
  feed.addEventListener("change", feed.onchange);
  feed.addEventListener("problem", ({ detail }) => toast(detail.message));
  feed.addEventListener("progress", () => {
    if (feed !== mine) return;
    status.progress(mine);
    grid.refresh();
  });
  status.waiting(view, feed);
  feed.start();
}

function leaveFeed() {
  selection.forgetRange();
  if (feed.complete) {
    feeds.delete(feed.key);
    feeds.set(feed.key, feed);
    if (feeds.size > KEPT_FEEDS) feeds.delete(feeds.keys().next().value);
  } else feed.leave();
}

/** What stands above the pictures while the album is browsed: months, or folders. */
function headingOf() {
  if (asks(view)) return null;
  if (view.sort === "path") return folderOf;
  feed.headingLength ??= headingLength(feed.items);
  if (!feed.headingLength) return null;
  return ({ taken }) => (taken ? dateWords(taken.slice(0, feed.headingLength)) : texts.undated);
}

/** How much of a date stands above pictures: months, years when months have few, nothing when years have, too. */
function headingLength(items) {
  const dated = items.filter(({ taken }) => taken);
  const groups = (length) => new Set(dated.map(({ taken }) => taken.slice(0, length))).size;
  if (dated.length >= 6 * groups(7)) return 7;
  return dated.length >= 3 * groups(4) ? 4 : 0;
}

function closeViewer() {
  const opened = view.open;
  if (history.state?.inside) history.back();
  else {
    go({ open: "" }, { replace: true });
    restoreFocus(opened);
  }
}

function restoreFocus(id) {
  const index = feed.items.findIndex((item) => item.id === id);
  if (index >= 0) grid.focus(index);
}

async function step(direction) {
  const at = feed.items.findIndex(({ id }) => id === view.open);
  if (at < 0) return;
  if (at + direction >= feed.items.length && feed.hasMore) await feed.more();
  const item = feed.items[at + direction];
  if (!item) return;
  view = { ...view, open: item.id };
  history.replaceState(history.state, "", write(view));
  grid.current = at + direction;
  render();
}

function gridKey(event, index) {
  const item = feed.items[index];
  const keys = {
    Enter: () => go({ open: item.id }),
    " ": () => selection.toggle(feed.items, index, event),
    x: () => selection.toggle(feed.items, index, event),
    s: () => go({ ...everything, index: view.index, like: item.id }),
    w: () => {
      go({ open: item.id });
      viewer.heat.toggle();
    },
    c: () => copyAndTell(item.path ?? item.id),
    d: () => el("a", { href: `${item.file}${item.file.includes("?") ? "&" : "?"}download=1`, download: "" }).click(),
  };
  const does = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does) return;
  event.preventDefault();
  does();
}

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const inField = event.target.matches("input, textarea, select");
  if (event.key === "/" && !inField) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "?" && !inField) byId("help").showModal();
  else if (event.key === "Escape" && !filters.close()) stepBack();
});

/** Escape undoes the nearest thing: the selection, then the words and the picture. */
function stepBack() {
  if (selection.clear()) return;
  if (asks(view)) go(unasked);
  else if (filtered(view)) go(unfiltered(view));
  else document.activeElement.blur();
}

/** Several indexes: a choice beside the filters. */
async function offerIndexes() {
  const indexes = await json("/v1/indexes");
  if (indexes.length < 2) return;
  const select = byId("index");
  select.replaceChildren(...indexes.map(({ name }) => el("option", { value: name }, name)));
  select.hidden = false;
  showIndex();
  select.addEventListener("change", () => {
    go({ ...unfiltered(view), like: "", index: select.value === indexes[0].name ? "" : select.value });
  });
}

function showIndex() {
  const select = byId("index");
  select.value = view.index || select.options[0]?.value;
}

/** Puts a file into the album and opens it there. */
async function addToAlbum(file) {
  const form = new FormData();
  form.append("image", file, file.name);
  status.busy(true);
  try {
    const params = view.index ? `?index=${encodeURIComponent(view.index)}` : "";
    const { id, known } = await json(`/v1/pictures${params}`, { method: "POST", body: form });
    // What was found before it came lacks it.
    feeds.clear();
    feed.complete = false;
    toast(known ? texts.wasThere : texts.added);
    go({ ...everything, index: view.index, open: id });
  } finally {
    status.busy(feed.phase !== "done");
  }
}

/** What the caller may do here decides what is offered; when that is not known, less is. */
async function offerRights() {
  const session = await json("/session").catch(() => ({}));
  box.takesUploads = session.uploads && session.right === "write";
  byId("sign-out").hidden = !session.signed_in;
}

function setUpDialogs() {
  const help = byId("help");
  byId("keys").replaceChildren(...texts.keys.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what))));
  byId("help-open").addEventListener("click", () => help.showModal());
  help.addEventListener("click", (event) => event.target === help && help.close());
  byId("brand").addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    go({ ...everything, index: view.index });
    scrollTo({ top: 0 });
  });
}

setUpDialogs();
render();
if (!asks(view) && !view.open && matchMedia("(pointer: fine)").matches) box.focus();
offerRights();
offerIndexes().catch((problem) => toast(problem.message));
