// Rows of pictures of the right proportions that fill the width: where each picture lies. Pure arithmetic;
// drawing is in grid.js.

const NARROWEST = 0.5;
const WIDEST = 3;

/** A layout that grows: pictures that were laid stay where they are, but for those of the last, unfilled row. */
export class Layout {
  /** `{ x, y, w, h }` of each picture. */
  boxes = [];
  /** `{ y, h, first, last }` of each row, from top to bottom. */
  rows = [];
  /** `{ y, text, first }` of each heading. */
  headings = [];
  /** Height of all that is laid. */
  height = 0;

  /**
   * @param width of the space in pixels
   * @param target height that rows come near to
   * @param gap between pictures
   * @param heading what stands above a picture's row, or null; a new row begins where it changes
   * @param headingHeight space for it
   */
  constructor({ width, target, gap, heading = null, headingHeight = 56 }) {
    Object.assign(this, { width, target, gap, heading, headingHeight });
  }

  /** Lays what `items` holds beyond what was laid before. */
  extend(items) {
    this.#reopenLastRow();
    let first = this.boxes.length;
    let sum = 0;
    for (let i = first; i < items.length; i += 1) {
      const text = this.heading?.(items[i]) ?? null;
      if (text !== null && text !== this.headings.at(-1)?.text) {
        if (i > first) this.#lay(items, first, i, sum, false);
        [first, sum] = [i, 0];
        this.headings.push({ y: this.height, text, first: i });
        this.height += this.headingHeight;
      }
      sum += proportion(items[i]);
      if (sum * this.target + (i - first) * this.gap >= this.width) {
        this.#lay(items, first, i + 1, sum, true);
        [first, sum] = [i + 1, 0];
      }
    }
    if (first < items.length) this.#lay(items, first, items.length, sum, false);
  }

  /** Rows that touch the stretch from `top` to `bottom`: `[first, end)`. */
  rowsIn(top, bottom) {
    const at = (y, edge) => {
      let [low, high] = [0, this.rows.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (edge(this.rows[middle]) < y) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return [at(top, (row) => row.y + row.h), at(bottom, (row) => row.y)];
  }

  /** The picture that lies nearest above (-1) or below (+1) another. */
  vertical(from, direction) {
    const row = this.rows.findIndex(({ first, last }) => first <= from && from < last);
    const target = this.rows[row + direction];
    if (!target) return from;
    const middle = this.boxes[from].x + this.boxes[from].w / 2;
    let best = target.first;
    const distance = (i) => Math.abs(this.boxes[i].x + this.boxes[i].w / 2 - middle);
    for (let i = target.first; i < target.last; i += 1) if (distance(i) < distance(best)) best = i;
    return best;
  }

  #lay(items, first, end, sum, full) {
    const gaps = (end - first - 1) * this.gap;
    const height = full ? Math.round((this.width - gaps) / sum) : Math.round(Math.min(this.target, (this.width - gaps) / sum));
    let x = 0;
    for (let i = first; i < end; i += 1) {
      const right = full && i === end - 1 ? this.width : x + Math.round(proportion(items[i]) * height);
      this.boxes[i] = { x, y: this.height, w: right - x, h: height };
      x = right + this.gap;
    }
    this.rows.push({ y: this.height, h: height, first, last: end, full });
    this.height += height + this.gap;
  }

  #reopenLastRow() {
    const row = this.rows.at(-1);
    if (!row || row.full) return;
    this.rows.pop();
    this.boxes.length = row.first;
    this.height = row.y;
  }
}

/** Width over height, within what a row can bear. */
export function proportion({ width, height }) {
  return Math.min(WIDEST, Math.max(NARROWEST, width && height ? width / height : 1));
}
