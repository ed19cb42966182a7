// One picture and many: opening, similar, why, download; selecting and taking along; keyboard alone.

import assert from "node:assert/strict";
import { copyFile, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pictures, SAMPLES, shoot, startBrowser, startServer, type, visit } from "./harness.js";

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

const isOpen = (page) => page.locator("#viewer").evaluate((dialog) => dialog.open);

test("a picture opens with what is known of it, and back closes it", () =>
  visit(browser, server, "/?camera=NIKON+Z+6_2", async (page) => {
    const place = (await pictures(page)).indexOf("IMG_0012.jpg");
    await page.locator(".tile .frame").nth(place).click();
    await page.waitForURL(/open=/);
    await page.locator("#stage .large.there").waitFor();
    const facts = await page.locator("#details").textContent();
    for (const fact of ["IMG_0012.jpg", "22 Apr 2022, 11:39", "NIKON Z 6_2", "NIKKOR Z 40mm f/2", "288 × 360", "10 kB"]) {
      assert.ok(facts.includes(fact), `${fact} in ${facts}`);
    }
    await shoot(page, "picture");
    await page.goBack();
    assert.equal(await isOpen(page), false);
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /IMG_0012|couch/);
  }));

test("similar pictures are a search of their own", () =>
  visit(browser, server, "/?q=a+fox", async (page) => {
    await pictures(page);
    await page.locator(".tile .frame").first().click();
    await page.getByRole("button", { name: "Similar", exact: true }).click();
    await page.waitForURL(/like=[0-9a-f]{64}/);
    assert.equal(await isOpen(page), false);
    assert.ok((await pictures(page)).length > 5);
    assert.match(await page.locator(".tile .badge").first().textContent(), /^0\.\d\d$/);
    await page.goBack();
    await page.waitForURL(/open=/);
    assert.equal(await isOpen(page), true);
  }));

test("similar pictures by a key leave the focus among the pictures", () =>
  visit(browser, server, "/?q=a+fox", async (page) => {
    await pictures(page);
    await page.locator(".tile .frame").first().focus();
    await page.keyboard.press("s");
    await page.waitForURL(/like=[0-9a-f]{64}/);
    await page.locator(".tile .badge").first().waitFor();
    await page.waitForFunction(() => document.activeElement.matches(".tile *"));
    await page.keyboard.press("Enter");
    await page.waitForURL(/open=/);
    assert.equal(await isOpen(page), true);
  }));

test("why shows for each word where it was found", () =>
  visit(browser, server, "/?q=a+cat+on+a+couch", async (page) => {
    await pictures(page);
    await page.locator(".tile .frame").first().click();
    await page.locator("#act-why").click();
    const words = page.locator("#heat .word:not(.plain)");
    await words.first().waitFor();
    assert.deepEqual(await words.allTextContents(), ["cat", "couch"]);
    await page.locator("#stage .overlay.there").waitFor();
    const source = () => page.locator("#stage .overlay").last().evaluate((image) => image.src);
    const cat = await source();
    await words.nth(1).click();
    await page.waitForFunction((old) => document.querySelector("#stage .overlay:last-child").src !== old, cat);
    await page.locator("#stage .overlay.there:last-child").waitFor();
    const bytes = await Promise.all([cat, await source()].map(async (url) => (await page.request.get(url)).body()));
    assert.ok(!bytes[0].equals(bytes[1]), "each word has a map of its own");
    await shoot(page, "why");
    await page.getByRole("button", { name: "The picture alone" }).click();
    await page.locator("#stage .overlay").waitFor({ state: "detached" });
  }));

test("pressed twice, the first question for why is answered", () =>
  visit(browser, server, "/?q=a+cat+on+a+couch", async (page) => {
    await pictures(page);
    await page.locator(".tile .frame").first().click();
    const asked = [];
    let release;
    const released = new Promise((resolve) => (release = resolve));
    const words = (url) => url.pathname.endsWith("/why") && !url.searchParams.has("word");
    await page.route(words, async (route) => {
      asked.push(route.request());
      await released;
      await route.continue();
    });
    const gone = [];
    page.on("requestfailed", (request) => gone.push(request.url()));
    await page.locator("#act-why").click();
    await page.locator("#act-why").click();
    release();
    await page.locator("#stage .overlay.there").waitFor();
    assert.deepEqual([asked.length, gone], [1, []]);
    await page.getByRole("button", { name: "The picture alone" }).click();
    await page.locator("#act-why").click();
    await page.locator("#stage .overlay.there").waitFor();
  }));

test("the path of a picture is copied, by its button and by a key", () =>
  visit(browser, server, "/?q=a+fox", async (page) => {
    await pictures(page);
    const path = join(SAMPLES, "animals/IMG_0006.jpg");
    const copied = async () => {
      await page.locator("#toast", { hasText: "Copied" }).waitFor();
      const text = await page.evaluate(() => navigator.clipboard.readText());
      await page.evaluate(() => navigator.clipboard.writeText(""));
      await page.evaluate(() => (document.querySelector("#toast").textContent = ""));
      return text;
    };
    await page.locator(".tile .frame").first().focus();
    await page.keyboard.press("c");
    assert.equal(await copied(), path);
    await page.keyboard.press("Enter");
    await page.locator("#act-copy").click();
    assert.equal(await copied(), path);
    await page.keyboard.press("c");
    assert.equal(await copied(), path);
  }, { permissions: ["clipboard-read", "clipboard-write"] }));

test("the arrows go through the results", () =>
  visit(browser, server, "/?folder=" + encodeURIComponent(join(SAMPLES, "sports")), async (page) => {
    const names = await pictures(page);
    await page.locator(".tile .frame").first().click();
    const title = page.locator("#details h2");
    for (const name of names) {
      await page.waitForFunction((wanted) => document.querySelector("#details h2")?.textContent === wanted, name);
      await page.keyboard.press("ArrowRight");
    }
    assert.equal(await title.textContent(), names.at(-1));
    assert.match(await page.locator("#viewer-said").textContent(), new RegExp(`${names.length} of ${names.length}$`));
    assert.equal(await page.locator("#viewer-place").textContent(), `${names.length} of ${names.length}`);
    await page.keyboard.press("Escape");
    assert.equal(await isOpen(page), false);
  }));

test("a download is the file, byte by byte", () =>
  visit(browser, server, "/?q=a+fox", async (page) => {
    await pictures(page);
    await page.locator(".tile .frame").first().click();
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#act-download").click()]);
    assert.equal(download.suggestedFilename(), "IMG_0006.jpg");
    const bytes = await readFile(await download.path());
    assert.ok(bytes.equals(await readFile(join(SAMPLES, "animals/IMG_0006.jpg"))));
  }));

test("what is selected can be taken along: paths and ZIP", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    const pick = async (place, modifiers = []) => {
      await page.locator(".tile").nth(place).hover();
      await page.locator(".tile .pick").nth(place).click({ modifiers });
    };
    await pick(0);
    await pick(2, ["Shift"]);
    assert.equal(await page.locator("#selected").textContent(), "3 selected");
    await shoot(page, "selection");
    const [list] = await Promise.all([page.waitForEvent("download"), page.locator("#save-paths").click()]);
    const paths = (await readFile(await list.path(), "utf8")).trim().split("\n");
    assert.equal(paths.length, 3);
    assert.ok(paths.every((path) => path.startsWith(SAMPLES)), paths.join());
    const [zip] = await Promise.all([page.waitForEvent("download"), page.locator("#save-zip").click()]);
    const bytes = await readFile(await zip.path());
    assert.equal(bytes.subarray(0, 4).toString("latin1"), "PK\u0003\u0004");
    for (const path of paths) assert.ok(bytes.includes(path.split("/").pop()), path);
    await page.locator("#copy-paths").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), paths.join("\n"));
    await page.keyboard.press("Escape");
    assert.ok(await page.locator("#selection").isHidden());
  }, { permissions: ["clipboard-read", "clipboard-write"] }));

test("one of several indexes can be chosen, and all is asked there", async () => {
  const two = await startServer({ flags: (index) => ["--index", `again=${index}`] });
  try {
    await visit(browser, two, "/", async (page) => {
      await pictures(page);
      await page.locator("select#index").selectOption("again");
      await page.waitForURL(/index=again/);
      const asked = [];
      page.on("request", (request) => asked.push(request));
      await type(page, "a cat on a couch");
      await page.locator(".tile .frame").first().click();
      await page.locator("#act-why").click();
      await page.locator("#stage .overlay.there").waitFor();
      await page.reload();
      await page.locator("#stage .large.there").waitFor();
      const elsewhere = asked.filter((request) => new URL(request.url()).pathname.startsWith("/v1/pictures/")
        || new URL(request.url()).pathname === "/v1/search")
        .filter((request) => !`${request.url()}${request.postData() ?? ""}`.includes("again"));
      assert.deepEqual(elsewhere.map((request) => request.url()), []);
      assert.ok(asked.length > 3);
    });
    await visit(browser, two, "/", async (page) => {
      await pictures(page);
      const index = page.locator("select#index");
      const first = await index.inputValue();
      await index.selectOption("again");
      await page.waitForURL(/index=again/);
      await pictures(page);
      await page.locator(".tile").first().hover();
      await page.locator(".tile .pick").first().click();
      assert.equal(await page.locator("#selected").textContent(), "1 selected");
      await page.goBack();
      await page.waitForURL(`${two.url}/`);
      await pictures(page);
      assert.ok(await page.locator("#selection").isHidden(), "what was selected is not of this index");
      assert.equal(await index.inputValue(), first);
    });
  } finally {
    await two.close();
  }
});

test("everything can be done with the keyboard alone", () =>
  visit(browser, server, "/", async (page) => {
    await pictures(page);
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.id), "text");
    await type(page, "a dog");
    await page.keyboard.press("ArrowDown");
    const focused = () => page.evaluate(() => document.activeElement.closest(".tile")?.ariaPosInSet
      ?? document.activeElement.closest(".tile")?.getAttribute("aria-posinset"));
    assert.equal(await focused(), "1");
    await page.keyboard.press("ArrowRight");
    assert.equal(await focused(), "2");
    await page.keyboard.press(" ");
    assert.equal(await page.locator("#selected").textContent(), "1 selected");
    await page.keyboard.press("Home");
    await page.keyboard.press("Enter");
    assert.equal(await isOpen(page), true);
    await page.keyboard.press("w");
    await page.locator("#stage .overlay.there").first().waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await isOpen(page), false);
    assert.equal(await focused(), "1");
    await page.keyboard.press("s");
    await page.waitForURL(/like=/);
    await pictures(page);
    await page.keyboard.press("?");
    assert.ok(await page.locator("#help").isVisible());
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape"); // the selection
    assert.ok(await page.locator("#selection").isHidden());
    await page.keyboard.press("Escape"); // the search
    await page.waitForURL(`${server.url}/`);
  }));

test("whoever may write puts a picture into the album from the page", async () => {
  const album = await mkdtemp(join(tmpdir(), "bt-web-album-"));
  const token = "a-token-of-a-test-that-may-write";
  for (const name of ["pets/IMG_0081.webp", "pets/IMG_0082.jpg"]) {
    await copyFile(join(SAMPLES, name), join(album, name.split("/").pop()));
  }
  const own = await startServer({ album, env: { BT_TOKEN: token }, flags: () => ["--album", album] });
  const files = async () => (await readdir(album, { recursive: true })).filter((name) => /\.(jpg|webp)$/.test(name));
  try {
    await visit(browser, own, "/", async (page) => {
      await page.locator("#login input[type=password]").fill(token);
      await page.keyboard.press("Enter");
      assert.equal((await pictures(page)).length, 2);
      await page.setInputFiles("#file", join(SAMPLES, "home/IMG_0012.jpg"));
      await page.locator("button.add").click();
      await page.waitForURL(/open=/);
      await page.locator("#stage .large.there").waitFor();
      await shoot(page, "added");
      assert.equal((await files()).length, 3);
      await page.goto(`${own.url}/?q=a+cat+on+a+couch`);
      const [first] = await pictures(page);
      assert.ok((await files()).some((name) => name.endsWith(first)) && !/^IMG_008/.test(first), first);
    }, { expected: (text) => text.includes("401") });
  } finally {
    await own.close();
    await rm(album, { recursive: true, force: true });
  }
});
