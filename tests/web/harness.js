// A real server on a fresh index of samples/, and a browser that may talk to nobody else. BT_BIN: folder of the
// programs, CHROMIUM: the browser.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const TOP = new URL("../..", import.meta.url).pathname;
const BIN = process.env.BT_BIN ?? join(TOP, "target/release");
const SHOTS = join(TOP, "target/web-screenshots");
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** How long a machine with much else to do may take. */
const WAIT_MS = 120_000;

export const SAMPLES = join(TOP, "samples");
/** Pictures in the album: files with one content count once. */
export const ALBUM = 121;

/** Starts a server, with `flags(index)` if given; `close` ends it and takes its index away. */
export async function startServer({ album = SAMPLES, env = {}, flags = () => [] } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "bt-web-"));
  const index = join(folder, "index");
  await promisify(execFile)(join(BIN, "bt-index"), [album, "--index", index, "--quiet"],
    { env: { ...process.env, XDG_CONFIG_HOME: folder } });
  const server = spawn(join(BIN, "bt-server"), ["--index", index, "--bind", "127.0.0.1:0", ...flags(index)],
    { env: { ...process.env, XDG_CONFIG_HOME: folder, ...env }, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => server.once("exit", (code) => resolve(code)));
  let log = "";
  const url = await new Promise((resolve, reject) => {
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${log}`)));
    server.stderr.on("data", (data) => {
      log += data;
      const found = log.match(/serving on (http:\/\/\S+)\n/);
      if (found) resolve(found[1]);
    });
  });
  return {
    url,
    async close() {
      server.kill("SIGTERM");
      const code = await ended;
      await rm(folder, { recursive: true, force: true });
      assert.equal(code, 0, `the server ended with ${code}:\n${log}`);
    },
  };
}

/** Starts the browser. */
export function startBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** Opens a page, gives it to a story, and checks that nothing went wrong behind the scenes. */
export async function visit(browser, { url }, path, story, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true,
    reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  const wrong = [];
  const expected = options.expected ?? (() => false);
  page.on("pageerror", (error) => wrong.push(`error in the page: ${error.stack}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected(message.text())) wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) wrong.push(`asked elsewhere: ${request.url()}`);
  });
  try {
    await page.goto(url + path);
    await story(page);
  } finally {
    await context.close();
  }
  assert.deepEqual(wrong, []);
}

/** Keeps a picture of the page. */
export async function shoot(page, name) {
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

/** Waits until the pictures are there in their last order, and returns the names of those in the document. */
export async function pictures(page) {
  await page.waitForFunction(() => {
    const settled = !document.querySelector("#progress.busy") && !document.querySelector("#grid.unsettled");
    return settled && document.querySelector(".tile, .blank h2");
  });
  return page.$$eval("#grid .tile:not(.leaving) .name", (names) => names.map((name) => name.textContent));
}

/** Types words as a person does and waits for the answer. */
export async function type(page, words) {
  await page.locator("#text").pressSequentially(words, { delay: 15 });
  await page.waitForURL((url) => url.searchParams.get("q") === words);
  return pictures(page);
}
