// Finding: words, pictures, both; filters; nothing found; the address and the way back.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ALBUM, pictures, SAMPLES, shoot, startBrowser, startServer, type, visit } from "./harness.js";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

const FOX = "IMG_0006.jpg";
const FOOTBALL = "IMG_0076.jpg";

/** Drops a file of samples/ onto the page, as a person does from a folder. */
async function drop(page, path, mime) {
  const bytes = (await readFile(join(SAMPLES, path))).toString("base64");
  const transfer = await page.evaluateHandle(([data, name, type]) => {
    const raw = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([raw], name, { type }));
    return transfer;
  }, [bytes, path.split("/").pop(), mime]);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: transfer });
  assert.ok(await page.locator("#veil.shown").count(), "the page says that it takes the picture");
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
}

test("words that are typed find the right picture first, with its probability", () =>
  visit(browser, server, "/", async (page) => {
    assert.equal((await type(page, "a football"))[0], FOOTBALL);
    const badge = await page.locator(".tile .badge").first().textContent();
    assert.match(badge, /^\d\d %$/);
    assert.match(await page.locator("#line").textContent(), /show(s)? that$/);
    assert.match(await page.locator("#announce").textContent(), /best \d\d %/);
    await shoot(page, "search");
  }));

test("the order of the embedding is shown at once, and becomes the final one", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    await page.evaluate(() => {
      globalThis.phases = [];
      const watched = { attributes: true, attributeFilter: ["class"], attributeOldValue: true };
      new MutationObserver((changes) => globalThis.phases.push(...changes.map(({ oldValue }) => oldValue)))
        .observe(document.querySelector("#grid"), watched);
    });
    await type(page, "a koala on a skateboard");
    const phases = await page.evaluate(() => globalThis.phases);
    assert.ok(phases.some((phase) => phase.includes("unsettled")), `first results came before the final ones: ${phases}`);
    assert.ok(!(await page.locator("#grid").getAttribute("class")).includes("unsettled"));
    const badges = await page.locator(".tile:not(.leaving) .badge:visible").allTextContents();
    assert.ok(badges.length && badges.every((badge) => badge.endsWith("%")), badges.join());
  }));

test("what a closer look says of a picture is shown as it comes, without moving it", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    // The stream is the page's own, held open between its events.
    await page.evaluate(() => {
      const { fetch } = globalThis;
      const text = new TextEncoder();
      globalThis.fetch = async (path, options) => {
        if (options?.headers?.accept !== "text/event-stream") return fetch(path, options);
        const body = new ReadableStream({ start: (controller) => (globalThis.stream = controller) });
        return new Response(body, { headers: { "content-type": "text/event-stream" } });
      };
      globalThis.tell = (name, data) =>
        globalThis.stream.enqueue(text.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`));
    });
    const answer = page.waitForResponse((response) => response.url().endsWith("/v1/search"));
    await page.locator("#text").fill("a dog");
    const first = await (await answer).json();
    await page.waitForFunction(() => globalThis.stream);
    const badges = () => page.$$eval(".tile .badge", (badges) => badges.slice(0, 4).map((badge) => badge.textContent));
    const names = () => page.$$eval(".tile .name", (names) => names.slice(0, 4).map((name) => name.textContent));
    const order = await names();
    assert.deepEqual(await badges(), ["…", "…", "…", "…"]);
    const judged = [1, 2].map((place) => ({ id: first.results[place].id, probability: 0.1 * place }));
    await page.evaluate((judged) => globalThis.tell("progress", { done: 2, total: 4, judged }), judged);
    await page.locator("#line", { hasText: "Looking closer: 2 of 4" }).waitFor();
    await page.locator(".tile .badge", { hasText: "20 %" }).waitFor();
    assert.deepEqual(await badges(), ["…", "10 %", "20 %", "…"]);
    assert.deepEqual(await names(), order);
    const results = first.results.toReversed().map((result) => ({ ...result, probability: 0.9 }));
    await page.evaluate((answer) => globalThis.tell("results", answer), { ...first, results });
    await page.evaluate(() => globalThis.stream.close());
    await page.waitForFunction(() => !document.querySelector("#grid.unsettled"));
    assert.deepEqual(await badges(), ["90 %", "90 %", "90 %", "90 %"]);
    assert.notDeepEqual(await names(), order);
  }));

/** Answers the words that are typed, and keeps back what comes after a closer look until `release` is called with it. */
async function keepBack(page) {
  let first;
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route("**/v1/search", async (route) => {
    const body = route.request().postDataJSON();
    if (body.rerank !== 0) {
      await route.fulfill({ json: await released });
      return;
    }
    const response = await route.fetch({ postData: { ...body, all: true } });
    first = await response.json();
    await route.fulfill({ response, json: first });
  });
  return { first: () => first, release };
}

/** The picture that has the focus: its address, its place, where it is on the screen. */
const focused = (page) => page.evaluate(() => {
  const tile = document.activeElement.closest(".tile");
  return tile && { href: document.activeElement.href, place: tile.getAttribute("aria-posinset"), scroll: scrollY };
});

test("the order of a closer look arrives without jumping: where one was and what one looked at stay", () =>
  visit(browser, server, "/", async (page) => {
    const { first, release } = await keepBack(page);
    await page.locator("#text").fill("a dog");
    await page.locator("#grid.unsettled .tile").first().waitFor();
    const { results } = first();
    assert.ok(results.length > 30, `${results.length} results`);
    await page.keyboard.press("ArrowDown");
    for (let i = 0; i < 12; i += 1) await page.keyboard.press("ArrowRight");
    await page.evaluate(() => scrollTo({ top: 300 }));
    const before = await focused(page);
    assert.deepEqual([before.place, before.scroll], ["13", 300]);
    const turned = results.toReversed().map((result, i) => ({ ...result, rank: i + 1, probability: 0.9 - i / 100 }));
    release({ ...first(), next: null, results: turned });
    await page.locator(".tile .badge", { hasText: "90 %" }).first().waitFor({ state: "attached" });
    await pictures(page);
    assert.deepEqual(await focused(page), { ...before, place: String(results.length - 12) });
    assert.equal(await page.evaluate(() => document.activeElement.tabIndex), 0);
    await page.keyboard.press("ArrowLeft");
    assert.equal((await focused(page)).place, String(results.length - 13), "the arrows go on from there");
  }));

test("where the picture one looked at turns out to be no match, the nearest place has the focus", () =>
  visit(browser, server, "/", async (page) => {
    const { first, release } = await keepBack(page);
    await page.locator("#text").fill("a dog");
    await page.locator("#grid.unsettled .tile").first().waitFor();
    await page.keyboard.press("ArrowDown");
    for (let i = 0; i < 5; i += 1) await page.keyboard.press("ArrowRight");
    const results = first().results.slice(0, 3).map((result) => ({ ...result, probability: 0.9 }));
    release({ ...first(), matched: 3, next: null, results });
    await page.locator(".tile .badge", { hasText: "90 %" }).first().waitFor();
    assert.equal((await focused(page)).place, "3");
    const places = await page.$$eval(".tile:not(.leaving)", (tiles) => tiles.map((tile) => tile.ariaPosInSet
      ?? tile.getAttribute("aria-posinset")));
    assert.deepEqual(places, ["1", "2", "3"]);
  }));

test("typing is one step in the history, and back shows what was there before", () =>
  visit(browser, server, "/", async (page) => {
    const album = await pictures(page);
    await type(page, "a fox");
    await page.goBack();
    await page.waitForURL(`${server.url}/`);
    assert.deepEqual(await pictures(page), album);
    assert.equal(await page.locator("#text").inputValue(), "");
    await page.goForward();
    await page.waitForURL(/q=a\+fox/);
    assert.equal((await pictures(page))[0], FOX);
  }));

test("an address alone shows the whole view", () =>
  visit(browser, server, "/?q=a+football&type=jpeg&sort=date", async (page) => {
    const found = await pictures(page);
    assert.ok(found.includes(FOOTBALL) && found.every((name) => name.endsWith(".jpg")), found.join());
    assert.equal(await page.locator("#text").inputValue(), "a football");
    assert.match(await page.locator('[data-kind="type"]').textContent(), /jpeg/);
    assert.equal(await page.locator('#order [aria-pressed="true"]').textContent(), "Newest");
  }));

test("where nothing shows it, that is said, and the nearest come on request", () =>
  visit(browser, server, "/?q=an+elephant+on+the+moon", async (page) => {
    assert.deepEqual(await pictures(page), []);
    assert.equal(await page.locator(".blank h2").textContent(), "Nothing here shows that");
    assert.match(await page.locator(".blank p").first().textContent(), new RegExp(`The nearest of ${ALBUM} pictures comes to (\\d+|< 1) %`));
    assert.equal(await page.locator("#announce").textContent(), "Nothing here shows that");
    await shoot(page, "nothing");
    await page.getByRole("button", { name: "Show the nearest anyway" }).click();
    await page.waitForURL(/all=1/);
    assert.ok((await pictures(page)).length > 5);
    await page.goBack();
    await page.waitForFunction(() => document.querySelector(".blank h2"));
  }));

test("a picture that is dropped finds itself, with words as well, and survives a reload", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    await drop(page, "home/IMG_0012.jpg", "image/jpeg");
    await page.waitForURL(/given=/);
    assert.equal((await pictures(page))[0], "IMG_0012.jpg");
    assert.ok(await page.locator("#token img").isVisible());
    await shoot(page, "dropped");
    await page.reload();
    assert.equal((await pictures(page))[0], "IMG_0012.jpg");
    await type(page, "on a chair");
    assert.match(page.url(), /given=.*/);
    await page.getByRole("button", { name: "Take the picture out of the search" }).click();
    await page.waitForURL((url) => !url.searchParams.has("given") && url.searchParams.get("q") === "on a chair");
  }));

test("a picture that is pasted is searched for", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    const bytes = (await readFile(join(SAMPLES, "animals/IMG_0006.jpg"))).toString("base64");
    await page.evaluate((data) => {
      const transfer = new DataTransfer();
      const raw = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([raw], "image.jpg", { type: "image/jpeg" }));
      document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
    }, bytes);
    await page.waitForURL(/given=/);
    assert.equal((await pictures(page))[0], FOX);
  }));

test("filters say how many there are, narrow what is shown, and can be taken away", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    await page.locator('[data-kind="folder"] .chip-main').click();
    const sports = page.locator(".option", { hasText: "sports" });
    assert.equal(await sports.locator(".option-count").textContent(), "4");
    await shoot(page, "filter");
    await sports.click();
    await page.waitForURL(/folder=/);
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => document.querySelector("#line").textContent === "4 pictures");
    assert.deepEqual((await pictures(page)).sort(), ["IMG_0009.jpg", "IMG_0030.png", "IMG_0076.jpg", "IMG_0077.png"]);
    await page.getByRole("button", { name: "Remove the filter Folder" }).click();
    await page.waitForFunction((line) => document.querySelector("#line").textContent === line, `${ALBUM} pictures`);
  }));

test("a month of the timeline, a camera and a type are filters, too", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    await page.locator('[data-kind="date"] .chip-main').click();
    await page.locator(".year-name", { hasText: "2022" }).click();
    await page.waitForURL(/after=2022&before=2023/);
    const dated = await pictures(page);
    assert.ok(dated.includes("IMG_0012.jpg") && dated.length < 20, dated.join());
    await page.locator('[data-kind="camera"] .chip-main').click();
    await page.locator(".option", { hasText: "NIKON Z 6_2" }).click();
    await page.waitForURL(/camera=NIKON/);
    await page.keyboard.press("Escape");
    assert.ok((await pictures(page)).includes("IMG_0012.jpg"));
    await page.goto(`${server.url}/?type=gif`);
    await pictures(page);
    assert.equal(await page.locator(".blank h2").textContent(), "No picture passes these filters");
    await page.getByRole("button", { name: "Clear the filters" }).click();
    await page.waitForFunction((line) => document.querySelector("#line").textContent === line, `${ALBUM} pictures`);
  }));

/** Goes to a chip by the tabulator and opens its panel; where the focus is then. */
async function openByKeyboard(page, kind) {
  const chip = page.locator(`[data-kind="${kind}"] .chip-main`);
  const there = () => chip.evaluate((button) => button === document.activeElement);
  for (let i = 0; i < 40 && !(await there()); i += 1) await page.keyboard.press("Tab");
  assert.ok(await there(), `the tabulator comes to ${kind}`);
  await page.keyboard.press("Space");
  await page.waitForFunction(() => document.querySelector("#panel").contains(document.activeElement));
  assert.equal(await chip.getAttribute("aria-expanded"), "true");
}

/** The panel is closed, and the chip that is there now has the focus. */
async function closedWithFocus(page, kind) {
  await page.waitForFunction((kind) => !document.querySelector("#panel:popover-open")
    && document.activeElement === document.querySelector(`[data-kind="${kind}"] .chip-main`), kind);
}

test("every filter is set by the keyboard alone, and the focus goes back to its chip", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    for (const [kind, field] of [["folder", "folder"], ["camera", "camera"], ["type", "type"]]) {
      await openByKeyboard(page, kind);
      // In long lists there is a field before them to find what is wanted.
      if (await page.evaluate(() => document.activeElement.type === "search")) await page.keyboard.press("Tab");
      await page.keyboard.press("Space");
      await page.waitForURL((url) => url.searchParams.has(field));
      await page.keyboard.press("Escape");
      await closedWithFocus(page, kind);
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter"); // takes the filter away
      await page.waitForURL((url) => !url.searchParams.has(field));
      await closedWithFocus(page, kind);
    }
    await openByKeyboard(page, "date");
    await page.keyboard.press("Enter");
    await page.waitForURL(/after=\d{4}(-\d\d)?&before=/);
    await closedWithFocus(page, "date");
    await openByKeyboard(page, "date");
    await page.locator("#panel input[name=after]").focus();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("2022-04");
    await page.keyboard.press("Enter");
    await page.waitForURL(/after=2022-04&/);
    await closedWithFocus(page, "date");
    await page.goto(`${server.url}/?q=a+football`);
    await pictures(page);
    await openByKeyboard(page, "without");
    await page.keyboard.type("a goal");
    await page.keyboard.press("Enter");
    await page.waitForURL(/not=a\+goal/);
    await closedWithFocus(page, "without");
    await openByKeyboard(page, "without");
    for (let i = 0; i < 2; i += 1) await page.keyboard.press("Tab"); // the button, the word
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => !url.searchParams.has("not"));
    await closedWithFocus(page, "without");
  }));

test("a panel that is closed before its counts have come leaves nothing behind", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    let answer;
    const asked = new Promise((resolve) => (answer = resolve));
    await page.route("**/v1/facets?*", (route) => answer(route));
    await page.locator('[data-kind="folder"] .chip-main').focus();
    await page.keyboard.press("Space");
    const route = await asked;
    await page.keyboard.press("Escape");
    await closedWithFocus(page, "folder");
    await route.continue();
  }));

test("what should not be seen is left out", () =>
  visit(browser, server, "/?q=a+football", async (page) => {
    assert.equal((await pictures(page))[0], FOOTBALL);
    await page.locator('[data-kind="without"] .chip-main').click();
    await page.locator("#panel input").fill("a football");
    await page.keyboard.press("Enter");
    await page.waitForURL(/not=a\+football/);
    assert.ok(!(await pictures(page)).includes(FOOTBALL));
  }));

test("without a query the album is browsed by time and by folder", () =>
  visit(browser, server, "/", async (page) => {
    const first = page.locator(".grid-heading").first();
    await pictures(page);
    assert.equal(await first.textContent(), "2024");
    await shoot(page, "timeline");
    await page.getByRole("button", { name: "Folders" }).click();
    await page.waitForURL(/sort=path/);
    await page.waitForFunction(() => document.querySelector(".grid-heading")?.textContent.startsWith("animals"));
    await shoot(page, "folders");
  }));
