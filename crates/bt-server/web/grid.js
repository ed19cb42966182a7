// The wall of pictures: only what is near the screen is in the document; what moves glides; arrow keys walk it.

import { byId, calm, el, icon } from "./dom.js";
import { Layout } from "./layout.js";
import { picturePath, describe, fileName, score, thumbnail } from "./picture.js";
import { texts } from "./texts.js";

const HOLD_MS = 450;
const GLIDE = { duration: 320, easing: "cubic-bezier(.2, .8, .2, 1)" };

/** `on`: open(index), toggle(index, event), key(event, index), need(), leave(). */
export class Grid {
  #list = byId("grid");
  #tiles = new Map();
  #headings = new Map();
  #layout = null;
  #feed = null;
  #current = 0;
  #selected = new Set();
  #waiting = false;
  #needing = false;

  constructor(on) {
    this.on = on;
    addEventListener("scroll", () => {
      document.body.classList.toggle("scrolled", scrollY > 8);
      this.#later();
    }, { passive: true });
    new ResizeObserver(() => this.#resized()).observe(this.#list);
    this.#list.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Shows a feed, or the same feed with news. `heading` gives the text above a picture, or is null. */
  show(feed, heading) {
    const fresh = feed !== this.#feed;
    const before = this.#places();
    const focused = this.#focused();
    this.#feed = feed;
    this.heading = heading;
    // Whoever looks at a picture stays with it, wherever the new order puts it.
    const now = feed.items.findIndex(({ id }) => id === focused);
    if (fresh) this.#current = 0;
    else if (now >= 0) this.#current = now;
    else this.#current = Math.max(0, Math.min(this.#current, feed.items.length - 1));
    this.#lay();
    this.#draw(before);
    // Of other pictures, the first one.
    if (focused) this.#tiles.get(feed.items[this.#current]?.id)?.link.focus({ preventScroll: true });
  }

  /** Lays further pictures after those that are there. */
  extend() {
    this.#layout.extend(this.#feed.items);
    this.#stretch();
    this.#draw();
  }

  /** Draws what has changed in its place. */
  refresh() {
    this.#later();
  }

  /** Marks what is selected. */
  mark(ids) {
    this.#selected = ids;
    for (const [id, tile] of this.#tiles) this.#markTile(tile, ids.has(id));
  }

  /** Gives a picture the focus and brings it onto the screen. */
  focus(index) {
    const { items } = this.#feed;
    if (!items.length) return;
    this.#current = Math.max(0, Math.min(index, items.length - 1));
    const box = this.#layout.boxes[this.#current];
    const top = this.#top();
    const [head, foot] = [byId("head").offsetHeight + 16, 24];
    if (top + box.y < scrollY + head) scrollTo({ top: top + box.y - head });
    else if (top + box.y + box.h > scrollY + innerHeight - foot) scrollTo({ top: top + box.y + box.h - innerHeight + foot });
    this.#draw();
    this.#tiles.get(items[this.#current].id)?.link.focus({ preventScroll: true });
  }

  /** The picture that arrow keys start from. */
  get current() {
    return this.#current;
  }

  set current(index) {
    this.#current = index;
    this.#draw();
  }

  #lay() {
    const width = this.#list.clientWidth;
    const few = this.#feed.asked && !this.#feed.hasMore && this.#feed.items.length <= 6;
    const target = width < 600 ? (few ? 190 : 124) : few ? 300 : Math.min(232, Math.max(180, width / 6));
    this.#layout = new Layout({ width, target, gap: width < 600 ? 4 : 8, heading: this.heading });
    this.#layout.extend(this.#feed.items);
    this.#stretch();
  }

  /** As high as all pages together will be, so that the scroll bar tells the truth. */
  #stretch() {
    const { items, total, hasMore } = this.#feed;
    let { height } = this.#layout;
    if (hasMore && items.length) height *= Math.max(1, total / items.length);
    this.#list.style.height = `${Math.ceil(height)}px`;
  }

  #resized() {
    if (!this.#feed || this.#list.clientWidth === this.#layout.width) return;
    const top = this.#top();
    const [row] = this.#layout.rowsIn(scrollY - top, scrollY - top);
    const anchor = scrollY > top ? this.#layout.rows[row]?.first : undefined;
    this.#lay();
    if (anchor !== undefined) scrollTo({ top: top + this.#layout.boxes[anchor].y - byId("head").offsetHeight });
    this.#draw();
  }

  #later() {
    if (this.#waiting || !this.#feed) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  /** Id of the picture that has the focus. */
  #focused() {
    for (const [id, { link }] of this.#tiles) if (link === document.activeElement) return id;
    return null;
  }

  #top() {
    return this.#list.getBoundingClientRect().top + scrollY;
  }

  #places() {
    return new Map(Array.from(this.#tiles, ([id, tile]) => [id, tile.box]));
  }

  /** Makes the document hold what is near the screen. `before`: where pictures were; they glide from there. */
  #draw(before = null) {
    const { items } = this.#feed;
    const top = scrollY - this.#top();
    const spare = innerHeight;
    const [firstRow, endRow] = this.#layout.rowsIn(top - spare, top + innerHeight + spare);
    const first = this.#layout.rows[firstRow]?.first ?? items.length;
    const end = this.#layout.rows[endRow - 1]?.last ?? first;
    const wanted = new Map();
    for (let i = first; i < end; i += 1) wanted.set(items[i].id, i);
    if (items.length) wanted.set(items[this.#current].id, this.#current);

    for (const [id, tile] of this.#tiles) {
      if (wanted.has(id)) continue;
      this.#tiles.delete(id);
      if (before && !calm()) leave(tile);
      else tile.node.remove();
    }
    for (const [id, index] of wanted) {
      let tile = this.#tiles.get(id);
      const entered = !tile;
      if (entered) this.#tiles.set(id, (tile = this.#tile(items[index])));
      this.#fill(tile, items[index], index);
      if (before && !calm()) {
        if (before.has(id)) glide(tile, before.get(id));
        else if (entered) tile.node.animate([{ opacity: 0 }, { opacity: 1 }], { ...GLIDE, delay: 60, fill: "backwards" });
      }
    }
    this.#order(wanted);
    this.#drawHeadings(top - spare, top + innerHeight + spare);
    if (this.#feed.hasMore && top + innerHeight * 2.5 > this.#layout.height) this.#need();
  }

  /** Asks for further pages until there is enough below the screen. */
  async #need() {
    if (this.#needing) return;
    this.#needing = true;
    const feed = this.#feed;
    await this.on.need();
    this.#needing = false;
    if (feed === this.#feed) this.#draw();
    else this.#later();
  }

  /** The document's order is the order on screen, for those who read it. */
  #order(wanted) {
    const order = Array.from(wanted).sort((a, b) => a[1] - b[1]);
    let at = null;
    for (let i = order.length - 1; i >= 0; i -= 1) {
      const { node, link } = this.#tiles.get(order[i][0]);
      if (node.nextElementSibling !== at || node.parentNode !== this.#list) {
        const focused = document.activeElement === link;
        this.#list.insertBefore(node, at);
        if (focused) link.focus({ preventScroll: true });
      }
      at = node;
    }
  }

  #drawHeadings(top, bottom) {
    const seen = new Set();
    for (const heading of this.#layout.headings) {
      if (heading.y + 60 < top || heading.y > bottom) continue;
      seen.add(heading.text);
      let node = this.#headings.get(heading.text);
      if (!node) {
        node = el("h2.grid-heading", {}, ...headingWords(heading.text));
        this.#headings.set(heading.text, node);
        byId("headings").append(node);
      }
      node.style.transform = `translateY(${heading.y}px)`;
    }
    for (const [text, node] of this.#headings) {
      if (seen.has(text)) continue;
      this.#headings.delete(text);
      node.remove();
    }
  }

  #tile(item) {
    const image = el("img", { alt: "", decoding: "async", draggable: "false" });
    const badge = el("span.badge", { "aria-hidden": "true" });
    const name = el("span.name", { "aria-hidden": "true" });
    const link = el("a.frame", { draggable: "false" }, image, el("span.shade", {}), badge, name);
    const box = el("input", { type: "checkbox", tabindex: "-1" });
    const node = el("li.tile", {}, link, el("label.pick", {}, box, icon("check")));
    const tile = { node, link, image, badge, name, pick: box, box: null, id: item.id };
    image.addEventListener("load", () => image.classList.add("there"));
    image.addEventListener("error", () => node.classList.add("blank"));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      if (this.#selected.size && event.pointerType === "touch") this.on.toggle(tile.index, event);
      else this.on.open(tile.index);
    });
    held(link, () => this.on.toggle(tile.index, null));
    link.addEventListener("focus", () => {
      if (this.#current !== tile.index) this.current = tile.index;
    });
    box.addEventListener("click", (event) => this.on.toggle(tile.index, event));
    return tile;
  }

  #fill(tile, item, index) {
    const box = this.#layout.boxes[index];
    const total = Math.max(this.#feed.total, this.#feed.items.length);
    const first = index === this.#current;
    const drawn = [item, box, this.#feed.phase, total, first];
    // Scrolling asks for the same again and again.
    if (tile.drawn?.every((value, i) => value === drawn[i]) && tile.index === index) return;
    tile.drawn = drawn;
    tile.index = index;
    tile.box = box;
    const { style } = tile.node;
    style.transform = `translate(${box.x}px, ${box.y}px)`;
    style.width = `${box.w}px`;
    style.height = `${box.h}px`;
    const source = thumbnail(item, box.w);
    if (tile.source !== source) {
      tile.source = source;
      tile.node.classList.remove("blank");
      tile.image.src = source;
    }
    const said = this.#feed.asked ? score(item) : null;
    tile.badge.hidden = !said;
    if (said) {
      tile.badge.textContent = this.#feed.phase === "candidates" && !item.judged ? "…" : said.short;
      tile.badge.classList.toggle("sure", said.value >= 0.5 && item.probability !== undefined);
    }
    tile.name.textContent = fileName(item);
    tile.link.href = picturePath(item.id);
    tile.link.tabIndex = first ? 0 : -1;
    tile.link.setAttribute("aria-label", describe(item, said));
    tile.node.setAttribute("aria-posinset", index + 1);
    tile.node.setAttribute("aria-setsize", total);
    tile.pick.setAttribute("aria-label", texts.select(fileName(item)));
    this.#markTile(tile, this.#selected.has(item.id));
  }

  #markTile(tile, selected) {
    tile.pick.checked = selected;
    tile.node.classList.toggle("selected", selected);
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.#feed?.items.length) return;
    const rows = Math.max(1, Math.floor(innerHeight / 250));
    const page = (direction) => {
      let at = this.#current;
      for (let i = 0; i < rows; i += 1) at = this.#layout.vertical(at, direction);
      return at;
    };
    const moves = {
      ArrowLeft: () => this.#current - 1,
      ArrowRight: () => this.#current + 1,
      ArrowUp: () => this.#layout.vertical(this.#current, -1),
      ArrowDown: () => this.#layout.vertical(this.#current, 1),
      PageUp: () => page(-1),
      PageDown: () => page(1),
      Home: () => 0,
      End: () => this.#feed.items.length - 1,
    };
    const move = moves[event.key];
    if (!move) {
      this.on.key(event, this.#current);
      return;
    }
    event.preventDefault();
    const to = move();
    if (event.key === "ArrowUp" && to === this.#current) this.on.leave();
    else this.focus(to);
  }
}

/** Calls when a finger rests on it: the way to start selecting without a mouse. */
function held(node, then) {
  let timer;
  let since = -Infinity;
  node.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch") return;
    timer = setTimeout(() => {
      since = performance.now();
      then();
    }, HOLD_MS);
  });
  // Lifting the finger is a click in some browsers; it must not open the picture as well.
  node.addEventListener("click", (event) => {
    if (performance.now() - since > 2 * HOLD_MS) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, { capture: true });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) node.addEventListener(end, () => clearTimeout(timer));
  node.addEventListener("contextmenu", (event) => event.sourceCapabilities?.firesTouchEvents && event.preventDefault());
}

/** A folder's name stands before the path to it; dates are as they are. */
function headingWords(text) {
  const parts = text.split(/(?<=[/\\])/);
  return parts.length > 1 ? [parts.at(-1), el("span", {}, parts.slice(0, -1).join(""))] : [text];
}

function glide(tile, from) {
  const to = tile.box;
  if (!from || (from.x === to.x && from.y === to.y && from.w === to.w)) return;
  tile.node.animate(
    [
      { transform: `translate(${from.x}px, ${from.y}px)`, width: `${from.w}px`, height: `${from.h}px` },
      { transform: `translate(${to.x}px, ${to.y}px)`, width: `${to.w}px`, height: `${to.h}px` },
    ],
    GLIDE,
  );
}

function leave({ node }) {
  node.inert = true;
  node.classList.add("leaving");
  node.animate([{ opacity: 1 }, { opacity: 0 }], { duration: 180, fill: "forwards" }).finished.then(() => node.remove());
}
