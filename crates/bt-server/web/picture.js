// What is said of a picture, and where its bytes are: from a record of the server to words and addresses.

import { read, write } from "./address.js";
import { dateWords, percent, texts } from "./texts.js";

/** The last part of its path, or the start of its id when it is no longer on disk. */
export const fileName = ({ path, id }) => path?.split(/[/\\]/).pop() ?? id.slice(0, 12);

/** The folder it is in. */
export const folderOf = ({ path }) => path?.replace(/[/\\][^/\\]*$/, "") ?? texts.noFolder;

/** The address of the present view with this picture opened. */
export const picturePath = (id) => write({ ...read(location.search), open: id });

/** A thumbnail at least `width` CSS pixels wide. */
export function thumbnail(item, width) {
  const url = new URL(item.thumbnail, location.origin);
  const wanted = width * Math.min(devicePixelRatio || 1, 2);
  url.searchParams.set("w", [160, 320, 640, 1024].find((step) => step >= wanted) ?? 1024);
  return url.pathname + url.search;
}

/** Its score in words: `short` for a badge, `long` for a sentence; null where it has none. */
export function score(item) {
  if (item.probability !== undefined) {
    const value = item.probability;
    return { value, short: percent(value), name: texts.match(value), long: texts.matchLong(value) };
  }
  if (item.similarity !== undefined) {
    const value = item.similarity;
    return { value, short: texts.likenessShort(value), name: texts.likeness(value), long: texts.likenessLong(value) };
  }
  if (item.words !== undefined) return { value: 0, short: texts.words, name: texts.words, long: texts.wordsLong };
  return null;
}

/** What a screen reader says of it. */
export function describe(item, said) {
  const date = item.taken ? dateWords(item.taken.slice(0, 10)) : "";
  return texts.name([item.captions?.[0] ?? fileName(item), said?.name, date]);
}
