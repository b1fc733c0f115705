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
    this._state = h("span.badge");
    this._notice = h("p.notice", { role: "status", hidden: true });
    this._body = h("div.stacked");
    this.element = h("section.server-view", { "aria-labelledby": "server-title" },
      h("div.title-row", {}, h("h1", { id: "server-title" }, "Server"), this._state), this._notice, this._body);
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
    if (this._asking) return;
    this._asking = true;
    try {
      if (document.visibilityState === "visible") this._show(await this._app.api.get("/server"));
    } catch (problem) {
      this._away(problem);
    } finally {
      this._asking = false;
    }
    if (!this._closed) this._timer = setTimeout(() => this._ask(), EVERY_MS);
  }

  _away(problem) {
    const isRefused = problem.status && !problem.temporary;
    this._state.className = "badge status-failed";
    say(this._state, isRefused ? "not for you" : "away");
    const title = isRefused ? "This cannot be shown" : "The server does not answer";
    put(this._body, nothing(title, problem.detail ?? problem.message));
  }

  _show(server) {
    const draining = server.drain.phase !== "none";
    this._state.className = `badge status-${server.ready ? "completed" : draining ? "retrying" : "failed"}`;
    say(this._state, server.ready ? "ready" : draining ? `draining: ${server.drain.phase}` : "not ready");
    this._notice.hidden = !draining;
    if (draining) say(this._notice, this._drainWords(server.drain));
    const tiles = tilesOf(server).map(([name, value, words, text]) => this._tile(name, value, words, text));
    const warnings = (server.warnings ?? []).map((words) => h("p.notice", {}, words));
    put(this._body, warnings, h("div.tiles", {}, tiles), this._details(server));
  }

  _tile(name, value, words, text) {
    const past = this._past.get(name) ?? [];
    past.push(Number.isFinite(value) ? value : 0);
    if (past.length > KEPT) past.shift();
    this._past.set(name, past);
    const label = `${name} in the last ${duration((past.length * EVERY_MS) / 1000)}`;
    return h("div.card.tile", {},
      h("span.muted", {}, name), h("b", {}, words), h("small", {}, text), past.length > 2 && sparkline(past, label));
  }

  _drainWords({ phase, ends_at, outlook }) {
    const left_s = (Date.parse(ends_at) - this._app.now()) / 1000;
    const { stops_in_s = 0, finish = 0, stop = 0, unknown = 0 } = outlook ?? {};
    const runs = `Of what runs, ${finish} will finish, ${stop} will be stopped, of ${unknown} nobody knows; ` +
      `the rest is stopped in ${duration(stops_in_s)}.`;
    const words = finish + stop + unknown ? runs : "Nothing runs any more.";
    return `Shutting down (${phase}). The process ends in ${duration(left_s)} at the latest. ${words}`;
  }

  _details(server) {
    const owners = (server.streams.by_principal ?? []).map(({ principal, tenant, open }) =>
      [tenant ? `${principal} (${tenant})` : principal, open]);
    const lists = [
      ["Limits that were hit", Object.entries(server.limits_hit)],
      ["Open streams by principal", owners],
      ["Errors of the store", Object.entries(server.store.errors).filter(([, number]) => number)],
    ].filter(([, values]) => values.length);
    const about = [
      ["version", server.version],
      ["started", moment(server.started_at)],
      ["store", server.store.available ? "can be written" : "cannot be written"],
      ["breaker", server.store.breaker],
      ["oldest in the queue", server.tasks.oldest_waiting_s && duration(server.tasks.oldest_waiting_s)],
      ["waits for its commit", bytes(server.backlog_bytes)],
    ].filter(([, value]) => value);
    return h("div.plots", {},
      lists.map(([title, values]) => card(title, mostFirst(values).map(([name, value]) => [name, count(value)]))),
      card("About", about));
  }
}

const mostFirst = (pairs) => pairs.sort(([, one], [, other]) => other - one);

const card = (title, pairs) => h("div.card", {},
  h("h2", {}, title), h("dl", {}, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value))))));

/** Name, value, how it is written, what else there is to say. */
function tilesOf({ tasks, streams, events_per_s, commit_s, loop_lag_s, memory_bytes }) {
  const ms = (seconds) => (Number.isFinite(seconds) ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : "–");
  const [now, lately] = Object.values(events_per_s ?? {});
  const soon = tasks.retrying ? `; ${count(tasks.retrying)} retry soon` : "";
  return [
    ["Running", tasks.running, count(tasks.running), `of ${count(tasks.running_max)}${soon}`],
    ["Waiting", tasks.pending, count(tasks.pending), `of ${count(tasks.pending_max)} places`],
    ["Open streams", streams.open, count(streams.open), `of ${count(streams.open_max)}; ${count(streams.behind)} behind`],
    ["Events per second", now, rate(now ?? NaN), `${rate(lately ?? NaN)} in the last ten seconds`],
    ["Commit", commit_s?.p50, ms(commit_s?.p50), `99 of 100 within ${ms(commit_s?.p99)}`],
    ["Loop lag", loop_lag_s?.max, ms(loop_lag_s?.max), `${ms(loop_lag_s?.mean)} on average`],
    ["Memory", memory_bytes, memory_bytes === null ? "–" : bytes(memory_bytes), "of the process"],
  ];
}
