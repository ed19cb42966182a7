// Pictures that were dropped or pasted: kept in this browser, so that back, forward and reload find them again.

const STORE = "pictures";
const KEPT = 30;
const LARGE = 3_000_000;
const EDGE = 1600;

const memory = new Map();
/** Files as they were given; a reload forgets them. */
const files = new Map();

/** Keeps a picture and returns its key. Large ones are made smaller first: the model sees a few hundred pixels. */
export async function keep(file) {
  const blob = file.size > LARGE ? await smaller(file) : file;
  const key = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36)).join("");
  memory.set(key, blob);
  files.set(key, file);
  try {
    const store = await open("readwrite");
    store.put({ key, blob, at: Date.now() });
    await forgetOld(store);
  } catch {
    // Private windows have no such store; the picture lives as long as the page.
  }
  return key;
}

/** The file itself, of a picture that was given since the page was opened: nothing smaller goes into an album. */
export const original = (key) => files.get(key) ?? null;

/** The picture of a key; null when it was never here. */
export async function recall(key) {
  if (memory.has(key)) return memory.get(key);
  try {
    const found = await done((await open("readonly")).get(key));
    if (found) memory.set(key, found.blob);
    return found?.blob ?? null;
  } catch {
    return null;
  }
}

/** Whether the browser could decode it; server-side formats that it cannot are sent all the same. */
export const looksLikePicture = (file) => file.type.startsWith("image/") || file.type === "";

async function smaller(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file;
  }
  const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}

function open(mode) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("given", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    request.onerror = () => reject(request.error);
    request.onsuccess = () => resolve(request.result.transaction(STORE, mode).objectStore(STORE));
  });
}

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

async function forgetOld(store) {
  const all = await done(store.getAll());
  all.sort((a, b) => b.at - a.at);
  for (const old of all.slice(KEPT)) store.delete(old.key);
}
