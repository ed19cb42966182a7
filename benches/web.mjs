// How long it takes from the last key to results on the page, with 10,000 pictures and `mini`:
//   cargo build --release && (cd tests/web && npm ci) && node benches/web.mjs
// Pictures are those of samples/, each with some bytes after its end, so that all are different files.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { SAMPLES, startBrowser, startServer } from "../tests/web/harness.js";

const PICTURES = Number(process.env.PICTURES ?? 10_000);
const QUERIES = ["a fox", "three pigs", "a football", "a cat on a couch", "a giraffe", "a red car", "a bus in the city",
  "an owl under an umbrella", "a castle at night", "a turtle", "a pizza", "two tigers on the beach", "a kite in the sky",
  "a teddy bear", "a loaf of bread", "a train", "a koala", "a rose", "a top hat", "a stack of books"];

async function makeAlbum(folder) {
  const names = (await readdir(SAMPLES, { recursive: true })).filter((name) => /\.(jpg|png|webp)$/.test(name)).sort();
  const files = await Promise.all(names.map((name) => readFile(join(SAMPLES, name))));
  for (let i = 0; i < PICTURES; i += 1) {
    const place = join(folder, String(i % 100));
    if (i < 100) await mkdir(place);
    const name = names[i % names.length].split("/").pop();
    await writeFile(join(place, `${i}-${name}`), Buffer.concat([files[i % files.length], Buffer.from(` ${i}`)]));
  }
}

/** Milliseconds from the last key to the first tile that was painted, to its picture, and to the final order. */
function watch(page) {
  return page.evaluate(() => {
    const grid = document.querySelector("#grid");
    const input = document.querySelector("#text");
    let begun;
    // Each key begins anew: only what came after the last one counts.
    input.addEventListener("input", () => {
      begun = performance.now();
      globalThis.times = {};
    });
    const note = (name) => {
      const { times } = globalThis;
      const key = begun;
      requestAnimationFrame(() => setTimeout(() => (times[name] ??= performance.now() - key)));
    };
    const look = () => {
      const asked = new URLSearchParams(location.search).get("q") === input.value;
      const answered = document.querySelector(".badge:not([hidden]), .blank h2");
      if (!asked || !answered) return;
      note("tile");
      if (grid.querySelector("img.there")) note("picture");
      if (!grid.classList.contains("unsettled")) note("settled");
    };
    new MutationObserver(look).observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true });
  });
}

const album = await mkdtemp(join(tmpdir(), "bt-web-album-"));
let server;
let browser;
try {
  await makeAlbum(album);
  server = await startServer({ album });
  browser = await startBrowser();
  const rows = [];
  for (const query of QUERIES) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    await page.goto(server.url);
    await page.locator(".tile img.there").first().waitFor();
    await watch(page);
    await page.locator("#text").pressSequentially(query, { delay: 60 });
    await page.waitForFunction((words) => globalThis.times.settled && document.querySelector("#text").value === words, query);
    rows.push(await page.evaluate(() => globalThis.times));
    await context.close();
  }
  const at = (name, share) => {
    const sorted = rows.map((row) => row[name]).filter((ms) => ms !== undefined).sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]?.toFixed(0);
  };
  console.log(`${PICTURES} pictures, ${QUERIES.length} queries, ${cpus()[0].model}, ${cpus().length} cores; ms after the last key`);
  for (const [name, what] of [["tile", "first results"], ["picture", "first thumbnail"], ["settled", "final order"]]) {
    console.log(`${what}: median ${at(name, 0.5)}, p95 ${at(name, 0.95)}`);
  }
} finally {
  await browser?.close();
  await server?.close();
  await rm(album, { recursive: true, force: true });
}
