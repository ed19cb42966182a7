// How the page behaves: accessible, on a phone, in the dark, small, with a token; its arithmetic of rows.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { pictures, shoot, startBrowser, startServer, visit } from "./harness.js";

const AXE = new URL("./node_modules/axe-core/axe.min.js", import.meta.url);
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const TOKEN = "a-token-of-a-test-that-is-long-enough";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** No serious violation of accessibility in what is on screen now. */
async function accessible(page, where) {
  await page.evaluate(await readFile(AXE, "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(serious.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join("\n")}`), []);
}

for (const colorScheme of ["light", "dark"]) {
  test(`${colorScheme}: no serious violation of accessibility`, () =>
    visit(browser, server, "/", async (page) => {
      await pictures(page);
      await accessible(page, "album");
      await shoot(page, `album-${colorScheme}`);
      await page.locator('[data-kind="folder"] .chip-main').click();
      await page.locator(".option").first().waitFor();
      await accessible(page, "folders");
      await page.keyboard.press("Escape");
      await page.locator('[data-kind="date"] .chip-main').click();
      await page.locator(".year").first().waitFor();
      await accessible(page, "dates");
      await page.goto(`${server.url}/?q=a+football`);
      await pictures(page);
      await accessible(page, "results");
      await page.locator(".tile .frame").first().click();
      await page.locator("#act-why").click();
      await page.locator("#stage .overlay.there").waitFor();
      await accessible(page, "picture");
      await shoot(page, `picture-${colorScheme}`);
      await page.goto(`${server.url}/?q=an+elephant+on+the+moon`);
      await pictures(page);
      await accessible(page, "nothing");
      await page.goto(`${server.url}/docs`);
      await page.locator("article").first().waitFor();
      await accessible(page, "description");
      await shoot(page, `docs-${colorScheme}`);
    }, { colorScheme }));
}

test("dark is dark, and the button changes it for good", () =>
  visit(browser, server, "/", async (page) => {
    const lightness = () => page.evaluate(() => {
      const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
      return (red + green + blue) / 3;
    });
    assert.ok((await lightness()) < 60);
    await page.locator("#theme").click();
    assert.ok((await lightness()) > 200);
    await page.reload();
    assert.ok((await lightness()) > 200);
  }, { colorScheme: "dark" }));

test("390 pixels are wide enough", () =>
  visit(browser, server, "/", async (page) => {
    const fits = async (where) => assert.ok(
      await page.evaluate(() => document.scrollingElement.scrollWidth <= innerWidth), `${where} is too wide`);
    await pictures(page);
    await fits("album");
    await shoot(page, "phone-album");
    await page.goto(`${server.url}/?q=a+football`);
    assert.equal((await pictures(page))[0], "IMG_0076.jpg");
    await fits("results");
    await shoot(page, "phone-results");
    await page.locator(".tile .frame").first().tap();
    await page.locator("#stage .large.there").waitFor();
    await fits("picture");
    await shoot(page, "phone-picture");
    const button = await page.getByRole("button", { name: "Similar", exact: true }).boundingBox();
    assert.ok(button.x >= 0 && button.x + button.width <= 390 && button.height >= 38);
    await page.locator("#viewer-close").tap();
    await page.locator('[data-kind="date"] .chip-main').tap();
    const panel = await page.locator("#panel").boundingBox();
    assert.ok(panel.x >= 0 && panel.x + panel.width <= 390, JSON.stringify(panel));
    await shoot(page, "phone-filter");
  }, PHONE));

test("the page is small, and its parts are not sent twice", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    const parts = await page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name)
      .filter((name) => name.includes("/assets/")).concat(location.href));
    let bytes = 0;
    for (const url of parts) {
      const first = await page.request.get(url);
      bytes += (await first.body()).length;
      const again = await page.request.get(url, { headers: { "if-none-match": first.headers().etag } });
      assert.equal(again.status(), 304, url);
    }
    assert.ok(parts.length > 10 && bytes < 150_000, `${bytes} bytes`);
  }));

test("a server that is busy is asked again, one that fails or is gone is spoken of", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    const problem = { status: 500, contentType: "application/problem+json",
      body: JSON.stringify({ type: "/problems/internal", title: "The server failed", status: 500, detail: "the cause is in the log" }) };
    const answers = [
      (route) => route.fulfill({ status: 429, headers: { "retry-after": "1" }, body: "{}" }),
      (route) => route.fulfill(problem),
      (route) => route.abort(),
    ];
    await page.route("**/v1/search", (route) => (answers.shift() ?? ((last) => last.continue()))(route));
    await page.locator("#text").fill("a football");
    const title = page.locator(".blank.alert h2");
    await title.filter({ hasText: "The server failed" }).waitFor();
    assert.match(await page.locator(".blank.alert").textContent(), /the cause is in the log/);
    assert.equal(await page.locator("#announce").textContent(), "The server failed");
    await page.getByRole("button", { name: "Try again" }).click();
    await title.filter({ hasText: "The server does not answer" }).waitFor();
    await shoot(page, "gone");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator(".tile .badge.sure").first().waitFor();
    assert.equal((await pictures(page))[0], "IMG_0076.jpg");
    assert.deepEqual(answers, []);
  }, { expected: (text) => text.includes("Failed to load resource") }));

test("a server that is busy with a search that is to come step by step is asked again", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    const busy = { type: "/problems/overloaded", title: "Too much is asked at once", status: 429, detail: "the queue is full" };
    const answers = [
      (route) => route.fulfill({ status: 429, headers: { "retry-after": "1" }, body: "{}" }),
      (route) => route.fulfill({ contentType: "text/event-stream", body: `event: problem\ndata: ${JSON.stringify(busy)}\n\n` }),
      (route) => route.continue(),
    ];
    const asked = [];
    await page.route("**/v1/search", (route) => {
      asked.push(route.request().headers().accept);
      return answers.shift()(route);
    });
    await page.goto(`${server.url}/?q=a+football`);
    assert.equal((await pictures(page))[0], "IMG_0076.jpg");
    assert.deepEqual(asked, Array(3).fill("text/event-stream"));
  }, { expected: (text) => text.includes("429") }));

test("of ten thousand pictures only those near the screen are in the document", () =>
  visit(browser, server, "/docs", async (page) => {
    const [COUNT, PAGE] = [10_000, 200];
    const one = await (await page.request.get(`${server.url}/v1/browse?n=1`)).json();
    const pixel = await page.request.get(server.url + one.results[0].thumbnail);
    const thumbnail = { contentType: "image/jpeg", body: await pixel.body() };
    await page.route("**/thumbnail?*", (route) => route.fulfill(thumbnail));
    await page.route("**/v1/browse?*", (route) => {
      const from = Number(new URL(route.request().url()).searchParams.get("cursor"));
      const results = Array.from({ length: PAGE }, (_, i) => ({ ...one.results[0],
        id: String(from + i).padStart(64, "0"), width: 300 + ((from + i) * 97) % 500, height: 400 }));
      const next = from + PAGE < COUNT ? String(from + PAGE) : null;
      return route.fulfill({ json: { results, total: COUNT, next } });
    });
    await page.goto(server.url);
    await pictures(page);
    // Counts at every change of the document, so that what is there for a moment counts as well.
    await page.evaluate(() => {
      globalThis.most = 0;
      const count = () => (globalThis.most = Math.max(globalThis.most, document.querySelectorAll(".tile").length));
      new MutationObserver(count).observe(document.querySelector("#grid"), { childList: true });
      count();
    });
    await page.locator(".tile .frame").first().focus();
    for (let i = 0; i < 20; i += 1) await page.keyboard.press("PageDown");
    await page.waitForFunction((last) => {
      scrollTo({ top: document.scrollingElement.scrollHeight });
      return document.querySelector(`.tile[aria-posinset="${last}"]`);
    }, COUNT, { polling: 50 });
    await page.keyboard.press("Home");
    await page.locator('.tile[aria-posinset="1"]').waitFor();
    const most = await page.evaluate(() => globalThis.most);
    assert.ok(most > 20 && most < 300, `${most} pictures in the document`);
  }));

test("scripts and styles from elsewhere are forbidden", () =>
  visit(browser, server, "/", async (page) => {
    const response = await page.request.get(server.url);
    assert.match(response.headers()["content-security-policy"], /^default-src 'none'; script-src 'self'; style-src 'self';/);
    await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "document.body.dataset.ran = 'yes'";
      document.body.append(script);
    });
    assert.equal(await page.evaluate(() => document.body.dataset.ran), undefined);
  }, { expected: (text) => text.includes("Content Security Policy") }));

test("a server with a token asks for it once, and again after signing out", async () => {
  const guarded = await startServer({ env: { BT_TOKEN: TOKEN } });
  try {
    await visit(browser, guarded, "/?q=a+football", async (page) => {
      const field = page.locator("#login input[type=password]");
      await field.fill("wrong");
      await page.keyboard.press("Enter");
      await page.locator("#login .note", { hasText: "does not know" }).waitFor();
      await shoot(page, "login");
      await accessible(page, "login");
      await field.fill(TOKEN);
      await page.keyboard.press("Enter");
      assert.equal((await pictures(page))[0], "IMG_0076.jpg");
      await page.waitForFunction(() => document.querySelector(".tile img.there"));
      await page.reload();
      assert.equal((await pictures(page))[0], "IMG_0076.jpg");
      assert.equal(await page.locator("#login").count(), 0);
      assert.equal(await page.evaluate(() => document.cookie), "", "scripts cannot read the session");
      await page.locator("#sign-out").click();
      await field.waitFor();
      assert.ok(await page.locator("#sign-out").isHidden());
      assert.equal((await page.request.get(`${guarded.url}/v1/status`)).status(), 401, "the session has ended");
      assert.equal(new URL(page.url()).search, "", "nothing of what was asked is left");
      await field.fill(TOKEN);
      await page.keyboard.press("Enter");
      await pictures(page);
      await page.locator("#sign-out").waitFor();
      await shoot(page, "signed-in");
    }, { expected: (text) => text.includes("401") });
  } finally {
    await guarded.close();
  }
});

test("rows fill the width, keep proportions, and stay where they are when more comes", () =>
  visit(browser, server, "/", async (page) => {
    const wrong = await page.evaluate(async () => {
      const { Layout, proportion } = await import("/assets/layout.js");
      const items = Array.from({ length: 10_000 }, (_, i) => ({ width: 300 + (i * 97) % 500, height: 300 + (i * 53) % 300 }));
      const layout = new Layout({ width: 1200, target: 220, gap: 8 });
      const complaints = [];
      let before = [];
      for (let n = 200; n <= items.length; n += 200) {
        layout.extend(items.slice(0, n));
        const full = layout.rows.filter((row) => row.full);
        for (const [i, box] of before.entries()) {
          const now = layout.boxes[i];
          if (box.x !== now.x || box.y !== now.y || box.w !== now.w) complaints.push(`${i} moved`);
        }
        before = layout.boxes.slice(0, full.at(-1).last);
      }
      for (const { first, last, full } of layout.rows) {
        const end = layout.boxes[last - 1];
        if (full && end.x + end.w !== 1200) complaints.push(`row of ${first} ends at ${end.x + end.w}`);
        for (let i = first; i < last; i += 1) {
          const { w, h } = layout.boxes[i];
          if (Math.abs(w / h / proportion(items[i]) - 1) > 0.05) complaints.push(`${i} is ${w} x ${h}`);
        }
      }
      if (layout.boxes.length !== items.length) complaints.push(`${layout.boxes.length} boxes`);
      return complaints.slice(0, 5);
    });
    assert.deepEqual(wrong, []);
  }));
