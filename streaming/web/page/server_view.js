/**
 * The server: whether it is ready, what it does now, and how far a shutdown has come.
 *
 * Owns:   that view, and how often it asks.
 * Never:  asks while nobody looks.
 */

import { nothing } from "./dialog.js";
import { h, put, say } from "./dom.js";
import { bytes, count, duration, moment, rate } from "./format.js";
import { sparkline } from "./plots.js";

const EVERY_MS = 2000;
const KEPT = 90;

export class ServerView {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this._app = app;
    this._past = new Map();
    this.element = h("section.server-view", { "aria-labelledby": "server-title" }, h("div.title-row", {}, h("h1", { id: "server-title" }, "Server"), (this._state = h("span.badge"))), (this._body = h("div.server-view")));
    app.onOpen(this, () => this._ask());
  }

  close() {
    this._app.forget(this);
    clearTimeout(this._timer);
    this._closed = true;
  }

  show() {
    void this._ask();
  }

  async _ask() {
    clearTimeout(this._timer);
    if (document.visibilityState === "visible" && !this._closed) {
      try {
        this._show(await this._app.api.get("/server"));
      } catch (problem) {
        this._away(problem);
      }
    }
    if (!this._closed) this._timer = setTimeout(() => this._ask(), EVERY_MS);
  }

  _away(problem) {
    this._state.className = "badge status-failed";
    say(this._state, problem.status ? "not for you" : "away");
    put(this._body, nothing(problem.status ? "This cannot be shown" : "The server does not answer", problem.detail ?? problem.message));
  }

  _show(server) {
    const draining = Boolean(server.drain?.phase) && server.drain.phase !== "none";
    this._state.className = `badge status-${server.ready ? "completed" : draining ? "retrying" : "failed"}`;
    say(this._state, server.ready ? "ready" : draining ? `draining: ${server.drain.phase}` : "not ready");
    put(this._body, (server.warnings ?? []).map((words) => h("p.notice", {}, words)), draining && this._drain(server.drain),
      h("div.tiles", {}, tilesOf(server).map(([name, value, words, text]) => this._tile(name, value, words, text))), this._details(server));
  }

  _tile(name, value, words, text) {
    const past = this._past.get(name) ?? [];
    past.push(Number.isFinite(value) ? value : 0);
    if (past.length > KEPT) past.shift();
    this._past.set(name, past);
    return h("div.card.tile", {}, h("span.muted", {}, name), h("b", {}, words), h("small", {}, text), past.length > 2 && sparkline(past, `${name} in the last ${duration((past.length * EVERY_MS) / 1000)}`));
  }

  _drain(drain) {
    const kinds = drain.forecast?.counts ?? drain.forecast ?? {};
    const words = Object.entries(kinds).filter(([, value]) => typeof value === "number").map(([kind, value]) => `${value} ${kind}`);
    return h("p.notice", { role: "status" }, h("b", {}, `Shutting down (${drain.phase}). `), drain.ends_in_s === undefined || drain.ends_in_s === null ? "" : `The process ends in ${duration(drain.ends_in_s)} at the latest. `, words.length ? `Of what runs: ${words.join(", ")}.` : "");
  }

  _details(server) {
    const lists = [["Limits that were hit", server.limits_hit], ["Open streams by principal", server.streams_by_principal]];
    return h("div.plots", {},
      lists.filter(([, values]) => values && Object.keys(values).length).map(([title, values]) => h("div.card", {}, h("h2", {}, title), h("dl", {}, Object.entries(values).sort(([, one], [, other]) => other - one).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, count(value))))))),
      h("div.card", {}, h("h2", {}, "About"), h("dl", {}, [["version", server.version], ["started", moment(server.started_at)], ["store", server.store?.kind ?? server.store], ["breaker", server.breaker]].filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))))));
  }
}

/** Name, value, how it is written, what else there is to say. */
function tilesOf(server) {
  const { tasks = {}, streams = {}, events = {}, commits = {}, loop = {}, memory_bytes } = server;
  const ms = (seconds) => (Number.isFinite(seconds) ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : "–");
  return [
    ["Running", tasks.running, count(tasks.running), `${count(tasks.retrying ?? 0)} in a pause before the next attempt`],
    ["Waiting", tasks.pending, count(tasks.pending), "for their turn"],
    ["Open streams", streams.open ?? streams, count(streams.open ?? streams), ""],
    ["Events per second", events.per_second_1s ?? events.per_second, rate(events.per_second_1s ?? events.per_second), ""],
    ["Commit", commits.p99_s, ms(commits.p50_s), `99 of 100 within ${ms(commits.p99_s)}`],
    ["Loop lag", loop.max_s, ms(loop.max_s), `${ms(loop.mean_s)} on average`],
    ["Memory", memory_bytes, bytes(memory_bytes), "of the process"],
  ];
}
