/**
 * The page: what is looked at, who looks, and one connection for all of it.
 *
 * Owns:   the bar at the top, which view is shown, the connection, the clock that all views share.
 * Uses:   client.js (requests, and the connection that all tabs share), a view for each place.
 * Never:  draws what a view draws.
 */

import { readPlace, writePlace } from "./address.js";
import { Client, shared } from "./client.js";
import { ask, tellProblem } from "./dialog.js";
import { h, mark, put, say } from "./dom.js";
import { STATUSES, count, duration } from "./format.js";
import { ListView } from "./list.js";
import { ServerView } from "./server_view.js";
import { Session } from "./session.js";
import { StartView } from "./start.js";
import { TaskView } from "./task.js";

const ROOT = new URL("..", import.meta.url);
const THEMES = ["system", "light", "dark"];
const KEPT_THEME = "streaming.theme";

/** What the views want of the feed: of what a handler says itself, a list shows nothing. */
const TOLD = [...STATUSES, "progress", "cancel_requested", "cancel_ignored"];
const VIEWS = { tasks: ListView, task: TaskView, server: ServerView, new: StartView };

/** Requests with the credential of the session; who is asked for one may try again. */
class Api {
  constructor(client, session) {
    this._client = client;
    this._session = session;
  }

  /** @returns {Promise<any>} the answer. @throws {import("./client.js").Problem} */
  async call(method, path, { query, body, signal } = {}) {
    try {
      return await this._client.request(method, path, { query, body, signal });
    } catch (problem) {
      if (problem.status !== 401 || !(await this._session.askFor(problem.detail))) throw problem;
      return this.call(method, path, { query, body, signal });
    }
  }

  get(path, query, signal) {
    return this.call("GET", path, { query, signal });
  }

  post(path, body, query) {
    return this.call("POST", path, { body, query });
  }
}

export class App {
  constructor() {
    this._session = new Session();
    this._client = new Client({ baseUrl: ROOT.href.replace(/\/$/, ""), token: () => this._session.credential, fetch: (...request) => this._fetch(...request) });
    /** Requests. */
    this.api = new Api(this._client, this._session);
    this._listeners = { event: new Map(), log: new Map(), tick: new Map(), open: new Map() };
    this._types = null;
    this._skew = 0;
    this._lost = 0;
    this._session.onChange = () => void this._changed();
  }

  async begin() {
    this._build();
    addEventListener("popstate", () => this._show());
    document.addEventListener("click", (event) => this._click(event));
    document.addEventListener("keydown", (event) => this._key(event));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this._tell("tick"));
    setInterval(() => document.visibilityState === "visible" && this._tell("tick"), 1000);
    await this._who();
    this._connect();
    this._show();
  }

  /** Requests tell what time it is at the server, to the second; a difference that is less is none. */
  async _fetch(...request) {
    const sent = Date.now();
    const answer = await fetch(...request);
    const date = Date.parse(answer.headers.get("date") ?? "");
    const skew = date + 500 - (sent + Date.now()) / 2;
    if (Number.isFinite(skew)) this._skew = Math.abs(skew) > 2000 ? skew : 0;
    return answer;
  }

  // -- for views -------------------------------------------------------------------------------------------------

  /** The time, in milliseconds since 1970, on the clock of the server. */
  now() {
    return Date.now() + this._skew;
  }

  /** @param {string} scope */
  may(scope) {
    return this._session.may(scope);
  }

  /** Go somewhere. @param {Partial<import("./address.js").Place>} place */
  go(place, { replace = false } = {}) {
    history[replace ? "replaceState" : "pushState"](null, "", writePlace(place));
    this._show();
  }

  /** What can be started. @returns {Promise<Array<any>>} */
  async types() {
    try {
      this._types ??= (await this.api.get("/types")).types;
    } catch (problem) {
      tellProblem(problem);
    }
    return this._types ?? [];
  }

  /** Hear events of the feed, events of the log that is watched, every second, whenever the connection is there again. */
  onEvent(view, listener) {
    this._listeners.event.set(view, listener);
  }

  onLog(view, listener) {
    this._listeners.log.set(view, listener);
  }

  onTick(view, listener) {
    this._listeners.tick.set(view, listener);
  }

  onOpen(view, listener) {
    this._listeners.open.set(view, listener);
  }

  forget(view) {
    for (const listeners of Object.values(this._listeners)) listeners.delete(view);
  }

  /** Watch the log of one task, behind an event; null watches none. */
  watch(task, after = 0) {
    if (this._watched && this._watched !== task) this._live?.removeLog(this._watched);
    this._watched = task;
    this._watchedAfter = after;
    if (task) this._live?.addLog(task, after);
  }

  // -- who, and the connection -----------------------------------------------------------------------------------

  async _who() {
    try {
      this._session.principal = await this.api.get("/principal");
    } catch (problem) {
      if (problem.status !== 401) tellProblem(problem);
    }
    this._showWho();
  }

  /** There is another credential, or none any more. */
  async _changed() {
    this._types = null;
    await this._who();
    this._connect();
  }

  _connect() {
    this._live?.close();
    const name = this._session.principal?.name ?? "nobody";
    this._live = shared(this._client, name, {
      feed: this.may("feed:read"),
      types: TOLD,
      logs: this._watched ? { [this._watched]: this._watchedAfter } : {},
      onEvent: (item) => this._heard(item),
      onState: (state) => this._showState(state),
    });
  }

  _heard({ kind, channel, event }) {
    if (kind !== "event" && kind !== "gap") return;
    this._tell(channel === "feed" ? "event" : "log", event);
    if (channel === "log") this._watchedAfter = event.seq;
  }

  _tell(kind, value) {
    for (const listener of [...this._listeners[kind].values()]) listener(value);
  }

  _showState(state) {
    const name = state.state;
    mark(this._pill, "data-state", name);
    const words = { idle: "Idle", connecting: "Connecting …", open: "Live", closed: "Not connected", waiting: state.seconds === null ? "Offline" : `Again in ${duration(state.seconds)}` };
    say(this._pillWords, words[name]);
    if (name === "waiting" && this._state === "open") this._lost += 1;
    mark(this._pill, "title", state.problem?.detail ?? (this._lost ? `connected again ${this._lost} times, and no event is missing` : "events come as they happen"));
    if (name === "open" && this._state !== "open") this._tell("open");
    if (name === "closed" && state.problem?.status === 401) void this._session.askFor(state.problem.detail);
    this._state = name;
  }

  /** How the connection is, told honestly: how often it was lost, what was missing, through which tab it goes. */
  _showConnection() {
    const { events = 0, gaps = 0, takeovers = 0 } = this._live.stats ?? {};
    const { state, attempt, problem } = this._live.state;
    const roles = { leader: "this tab has the connection, for all tabs", follower: "another tab has the connection", alone: "this tab has a connection of its own" };
    const facts = [["state", state], ["tabs", roles[this._live.role]], ["events that came", count(events)], ["lost and connected again", this._lost === 1 ? "once" : `${count(this._lost)} times`], ["tries that failed since", attempt && count(attempt)], ["taken over from a tab that closed", takeovers && count(takeovers)], ["gaps: events that are not kept any more", count(gaps)], ["the server said", problem?.detail]];
    return ask({ title: "Connection", yes: "Good", no: "Close", body: [h("dl", {}, facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))), h("p.muted", {}, "After a lost connection the page goes on behind the last event that it has seen, so none is missing and none comes twice.")] });
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  _build() {
    this._pillWords = h("span", { role: "status" });
    this._pill = h("button.pill", { type: "button", "data-state": "connecting", onclick: () => void this._showConnection() }, h("i"), this._pillWords);
    this._who_ = h("button.ghost", { type: "button", onclick: () => this._whoDialog() });
    this._theme = h("button.ghost", { type: "button", onclick: () => this._setTheme(THEMES[(THEMES.indexOf(this._themeName) + 1) % 3]) });
    this._nav = h("nav", { "aria-label": "places" }, [["tasks", "Tasks"], ["new", "Start"], ["server", "Server"]].map(([view, words]) => h("a", { href: writePlace({ view }), "data-view": view }, words)));
    const brand = h("a.brand", { href: writePlace({ view: "tasks" }), "aria-label": "streaming, all tasks" }, h("img", { src: new URL("page/icon.svg", ROOT).href, alt: "" }), h("span", {}, "streaming"));
    this._main = h("main", { id: "main", tabindex: "0" });
    put(document.getElementById("app"), h("header.top", {}, h("a.skip", { href: "#main" }, "To the content"), brand, this._nav, h("div.spacer"), this._pill, this._who_, this._theme), this._main);
    this._setTheme(localStorage.getItem(KEPT_THEME) ?? "system");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this._setTheme(this._themeName));
  }

  _setTheme(name) {
    this._themeName = THEMES.includes(name) ? name : "system";
    localStorage.setItem(KEPT_THEME, this._themeName);
    const dark = this._themeName === "dark" || (this._themeName === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    say(this._theme, { system: "◐", light: "☀", dark: "☾" }[this._themeName]);
    mark(this._theme, "aria-label", `colours: ${this._themeName}`);
    mark(this._theme, "title", `colours: ${this._themeName}`);
  }

  _showWho() {
    const principal = this._session.principal;
    this._who_.hidden = Boolean(principal?.anonymous);
    say(this._who_, principal?.name ?? "Sign in");
    for (const link of this._nav.children) link.hidden = { new: !this.may("tasks:write"), server: !this.may("metrics:read") }[link.dataset.view] ?? false;
  }

  async _whoDialog() {
    const principal = this._session.principal;
    if (!principal) return void this._session.askFor("This server asks for a credential.", { anew: true });
    const answer = await ask({ title: principal.name, yes: "Sign out", no: "Close", body: [h("p", {}, principal.tenant ? `of ${principal.tenant}` : ""), h("p", {}, `May: ${principal.scopes.join(", ") || "nothing"}`), principal.expires_at && h("p.muted", {}, `until ${principal.expires_at}`)] });
    if (!answer) return;
    this._session.leave();
    location.assign(writePlace({ view: "tasks" }));
  }

  _show() {
    const place = readPlace(location.search);
    if (this._shown !== place.view) {
      this._view?.close();
      this._view = new VIEWS[place.view](this);
      this._shown = place.view;
      put(this._main, this._view.element);
      this._main.scrollTop = 0;
    }
    for (const link of this._nav.children) mark(link, "aria-current", link.dataset.view === (place.view === "task" ? "tasks" : place.view) ? "page" : null);
    document.title = { tasks: "Tasks", task: `Task ${place.task?.slice(-8)}`, server: "Server", new: "Start a task" }[place.view] + " · streaming";
    this._view.show(place);
  }

  _click(event) {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.download) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || url.pathname !== location.pathname || url.hash) return;
    event.preventDefault();
    history[link.dataset.replace ? "replaceState" : "pushState"](null, "", url.search || "?");
    this._show();
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input,textarea,select,dialog")) return;
    const work = { "/": () => document.getElementById("search")?.focus(), n: () => this.may("tasks:write") && this.go({ view: "new" }), t: () => this.go({ view: "tasks" }), s: () => this.go({ view: "server" }), "?": () => void this._help() }[event.key];
    if (!work) return;
    event.preventDefault();
    work();
  }

  _help() {
    const keys = [["/", "search"], ["t", "tasks"], ["n", "start a task"], ["s", "server"], ["↑ ↓", "from task to task"], ["?", "this"]];
    return ask({ title: "Keys", yes: "Good", no: "Close", body: h("dl", {}, keys.map(([key, words]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, words)))) });
  }
}

if (document.getElementById("app")) void new App().begin();
