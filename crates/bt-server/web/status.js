// The line above the pictures, the bar that shows progress, and the states without pictures.

import { asks, filtered } from "./address.js";
import { announce, byId, copyAndTell, el, icon } from "./dom.js";
import { score } from "./picture.js";
import { texts } from "./texts.js";

/** `on`: change(patch), unfilter(), again(). */
export class Status {
  #line = byId("line");
  #order = byId("order");
  #state = byId("state");
  #bar = byId("progress");

  constructor(on) {
    this.on = on;
  }

  /** A feed was asked for and has not answered. What was there stays until it does. */
  waiting(view, feed) {
    this.busy(true);
    this.#choices(view, feed);
  }

  /** Whether something is under way. */
  busy(busy) {
    this.#bar.classList.toggle("busy", busy);
  }

  /** The server looks closer. */
  progress({ progress }) {
    this.#line.textContent = texts.closer(progress.done, progress.total);
  }

  /** Shows what a feed has. */
  show(view, feed) {
    const working = feed.phase === "candidates";
    this.busy(working);
    byId("grid").classList.toggle("unsettled", working);
    this.#choices(view, feed);
    this.#warnings(feed);
    if (working) {
      this.#state.replaceChildren();
      this.#line.textContent = texts.closer();
      return;
    }
    const said = this.#said(view, feed);
    this.#line.textContent = said;
    const empty = this.#empty(view, feed);
    this.#state.replaceChildren(...(empty ? [empty] : []));
    const best = feed.items[0]?.probability;
    if (empty) announce(empty.querySelector("h2").textContent);
    else announce(feed.asked && best !== undefined && !view.all ? texts.announceFound(feed.total, best) : said);
  }

  #said(view, feed) {
    if (feed.phase === "failed" || !feed.items.length) return "";
    if (!feed.asked) return texts.browsing(feed.total);
    if (view.all) return texts.nearest(feed.total);
    return feed.items[0].probability === undefined ? texts.found(feed.total) : texts.showsThat(feed.total);
  }

  /** The order, as two or three buttons; and the way back from "the nearest". */
  #choices(view, feed) {
    const choices = feed.asked ? [["", texts.byRelevance], ["date", texts.byDate]]
      : [["", texts.timeline], ["path", texts.folders]];
    const buttons = choices.map(([sort, text]) => el("button", { type: "button", "aria-pressed": String(view.sort === sort),
      onclick: () => this.on.change({ sort }) }, text));
    const focused = this.#order.contains(document.activeElement);
    this.#order.replaceChildren(...buttons);
    if (focused) this.#order.querySelector('[aria-pressed="true"]')?.focus();
    this.#order.hidden = !feed.items.length;
    byId("after").replaceChildren(...(this.#fewMatches(view, feed)
      ? [el("button.button", { type: "button", onclick: () => this.on.change({ all: true }) }, texts.lessLikely)] : []));
    byId("only").replaceChildren(...(view.all && feed.asked
      ? [el("button.link", { type: "button", onclick: () => this.on.change({ all: false }) }, texts.onlyMatches)] : []));
  }

  /** Whether what was left out as improbable is worth offering below what was found. */
  #fewMatches(view, feed) {
    return feed.asked && feed.phase === "done" && !view.all && !feed.hasMore && feed.items.length > 0
      && feed.items[0].probability !== undefined && feed.items.length < feed.answer.allowed;
  }

  #warnings({ answer }) {
    byId("warnings").replaceChildren(...(answer?.warnings ?? []).map((warning) => el("p", {}, warning)));
  }

  #empty(view, feed) {
    if (feed.phase === "failed") {
      const { title, message, hint } = feed.problem;
      return blank("alert", title, [message !== title && message, hint],
        [el("button.primary", { type: "button", onclick: this.on.again }, texts.again)]);
    }
    if (feed.items.length) return null;
    const { answer } = feed;
    const clear = el("button.primary", { type: "button", onclick: this.on.unfilter }, texts.clearFilters);
    if (answer.pictures === 0 || (!feed.asked && !filtered(view))) return emptyIndex();
    if (answer.allowed === 0 || !feed.asked) return blank("filter", texts.nothingPasses, [], [clear]);
    const best = answer.best && score(answer.best);
    const how = best && answer.best.probability !== undefined
      ? texts.nothingHow(best.value, answer.allowed) : texts.nothingPlain(answer.allowed);
    const nearest = el("button.primary", { type: "button", onclick: () => this.on.change({ all: true }) }, texts.showNearest);
    const words = asks(view) && view.text.trim();
    return blank("nothing", words ? texts.nothing : texts.nothingAlike, [how],
      [!view.all && nearest, filtered(view) && el("button.button", { type: "button", onclick: this.on.unfilter }, texts.clearFilters)]);
  }
}

function blank(name, title, lines, actions) {
  return el(`div.blank.${name}`, {}, icon(name), el("h2", {}, title),
    lines.filter(Boolean).map((line) => el("p", {}, line)), el("div.acts", {}, actions));
}

function emptyIndex() {
  const command = el("button.command", { type: "button", title: texts.copyPath, onclick: () => copyAndTell(texts.emptyCommand) },
    el("code", {}, texts.emptyCommand), icon("copy"));
  return blank("album", texts.empty, [texts.emptyHow], [command]);
}
