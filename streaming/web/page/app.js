/**
 * The page: what is looked at, who looks, and one connection for all of it.
 *
 * Owns:   the bar at the top, which view is shown, the connection, the clock that all views share.
 * Uses:   client.js (requests, and the connection that all tabs share), a view for each place.
 * Never:  draws what a view draws.
 */

import { readPlace, writePlace } from "./address.js";
import { Client, shared } from "./client.js";
import { ask, closeQuestions, tellProblem } from "./dialog.js";
import { h, mark, put, say } from "./dom.js";
import { STATUSES, count, duration, moment } from "./format.js";
import { ListView } from "./list.js";
import { ServerView } from "./server_view.js";
import { Session } from "./session.js";
import { StartView } from "./start.js";
import { TaskView } from "./task.js";

const ROOT = new URL("..", import.meta.url);
const THEMES = ["system", "light", "dark"];
const KEPT_THEME = "streaming.theme";
const DARK = matchMedia("(prefers-color-scheme: dark)");
const PLACES = [["tasks", "Tasks"], ["new", "Start"], ["server", "Server"]];
const TITLES = { tasks: "Tasks", server: "Server", new: "Start a task" };
const KEYS = [["/", "search"], ["t", "tasks"], ["n", "start a task"], ["s", "server"], ["↑ ↓", "from row to row"], ["?", "this"]];

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
    this._client = new Client({
      baseUrl: ROOT.href.replace(/\/$/, ""), token: () => this._session.credential, fetch: (...request) => this._fetch(...request),
    });
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
    addEventListener("popstate", () => location.search !== this._search && this._show()); // not for a #place in the page
    addEventListener("pageshow", (event) => event.persisted && this._resumed());
    document.addEventListener("click", (event) => this._click(event));
    document.addEventListener("keydown", (event) => this._key(event));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this._tell("tick"));
    setInterval(() => document.visibilityState === "visible" && this._tell("tick"), 1000);
    await this._who();
    this._connect();
    this._show();
  }

  /** The browser shows the page as it was; somebody may have signed out since. */
  _resumed() {
    if (this._session.credential !== this._session.used) location.reload();
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

  /** Whether this task is what is shown. @param {string} task its id */
  looksAt(task) {
    return this._place?.task === task;
  }

  /** What can be started. @returns {Promise<Array<any>>} */
  async types() {
    try {
      this._types ??= this.api.get("/types");
      return (await this._types).types;
    } catch (problem) {
      this._types = null;
      tellProblem(problem);
      return [];
    }
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

  /** There is another credential: what it may do may be something else. */
  async _changed() {
    const before = String(this._session.principal?.scopes);
    this._types = null;
    await this._who();
    this._connect();
    if (this._view && before !== String(this._session.principal?.scopes)) this._show({ anew: true });
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
    if (channel === "feed") return this._tell("event", event);
    if (event.task_id === this._watched) this._watchedAfter = event.seq;
    this._tell("log", event);
  }

  _tell(kind, value) {
    for (const listener of [...this._listeners[kind].values()]) listener(value);
  }

  _showState(state) {
    const name = state.state;
    mark(this._pill, "data-state", name);
    const again = state.seconds === null ? "Offline" : `Again in ${duration(state.seconds)}`;
    say(this._pillWords, { idle: "Idle", connecting: "Connecting …", open: "Live", closed: "Not connected", waiting: again }[name]);
    if (name === "waiting" && this._state === "open") this._lost += 1;
    mark(this._pill, "title", state.problem?.detail ?? "how the connection is");
    if (name === "open" && this._state !== "open") this._tell("open");
    if (name === "closed" && state.problem?.status === 401) void this._session.askFor(state.problem.detail);
    this._state = name;
  }

  /** How the connection is, told honestly: how often it was lost, what was missing, through which tab it goes. */
  _showConnection() {
    const { events = 0, gaps = 0, takeovers = 0 } = this._live.stats ?? {};
    const { state, attempt, problem } = this._live.state;
    const roles = {
      leader: "this tab has the connection, for all tabs",
      follower: "another tab has the connection",
      alone: "this tab has a connection of its own",
    };
    const facts = [
      ["state", state],
      ["tabs", roles[this._live.role]],
      ["events that came", count(events)],
      ["lost and connected again", this._lost === 1 ? "once" : `${count(this._lost)} times`],
      ["tries that failed since", attempt && count(attempt)],
      ["taken over from a tab that closed", takeovers && count(takeovers)],
      ["gaps: events that are not kept any more", count(gaps)],
      ["the server said", problem?.detail],
    ];
    const words = "After a lost connection the page goes on behind the last event that it has seen, so none comes twice, " +
      "and none is missing but those that the server does not keep any more: they are counted as gaps.";
    const body = [pairs(facts.filter(([, value]) => value)), h("p.muted", {}, words)];
    return ask({ title: "Connection", yes: "Good", no: "Close", body });
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  _build() {
    this._pillWords = h("span", { role: "status" }, "Connecting …");
    const show = () => void this._showConnection();
    this._pill = h("button.pill", { type: "button", "data-state": "connecting", onclick: show }, h("i"), this._pillWords);
    this._whoButton = h("button.ghost.whoami", { type: "button", onclick: () => void this._whoDialog() });
    const next = () => this._setTheme(THEMES[(THEMES.indexOf(this._themeName) + 1) % THEMES.length]);
    this._theme = h("button.ghost", { type: "button", onclick: next });
    this._nav = h("nav", { "aria-label": "places" },
      PLACES.map(([view, words]) => h("a", { href: writePlace({ view }), "data-view": view }, words)),
      h("a", { href: new URL("docs", ROOT).href }, "API"));
    const brand = h("a.brand", { href: writePlace({ view: "tasks" }), "aria-label": "streaming, all tasks" },
      h("img", { src: new URL("page/icon.svg", ROOT).href, alt: "" }), h("span", {}, "streaming"));
    this._main = h("main", { id: "main", tabindex: "0" });
    put(document.getElementById("app"),
      h("header.top", {}, h("a.skip", { href: "#main" }, "To the content"), brand, this._nav,
        h("div.spacer"), this._pill, this._whoButton, this._theme),
      this._main);
    this._setTheme(kept(() => localStorage.getItem(KEPT_THEME)));
    DARK.addEventListener("change", () => this._setTheme(this._themeName));
  }

  _setTheme(name) {
    this._themeName = THEMES.includes(name) ? name : "system";
    kept(() => localStorage.setItem(KEPT_THEME, this._themeName));
    const dark = this._themeName === "dark" || (this._themeName === "system" && DARK.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    say(this._theme, { system: "◐", light: "☀", dark: "☾" }[this._themeName]);
    mark(this._theme, "aria-label", `colours: ${this._themeName}`);
    mark(this._theme, "title", `colours: ${this._themeName}`);
  }

  _showWho() {
    const principal = this._session.principal;
    this._whoButton.hidden = Boolean(principal?.anonymous);
    say(this._whoButton, principal?.name ?? "Sign in");
    const hidden = { new: !this.may("tasks:write"), server: !this.may("metrics:read") };
    for (const link of this._nav.children) link.hidden = hidden[link.dataset.view] ?? false;
  }

  async _whoDialog() {
    const principal = this._session.principal;
    if (!principal) return void this._session.askFor("This server asks for a credential.", { anew: true });
    const answer = await ask({
      title: principal.name, yes: "Sign out", no: "Close",
      body: [
        principal.tenant && h("p", {}, `of ${principal.tenant}`),
        h("p", {}, `May: ${principal.scopes.join(", ") || "nothing"}`),
        principal.expires_at && h("p.muted", {}, `until ${moment(principal.expires_at)}`),
      ],
    });
    if (!answer) return;
    this._session.leave();
    location.assign(writePlace({ view: "tasks" })); // nothing that was seen stays
  }

  /** Show the place that stands in the URL. */
  _show({ anew = false } = {}) {
    const before = this._place;
    const place = readPlace(location.search);
    this._place = place;
    this._search = location.search;
    closeQuestions();
    if (anew || before?.view !== place.view) {
      this._view?.close();
      this._view = new VIEWS[place.view](this);
      put(this._main, this._view.element);
    }
    for (const link of this._nav.children) {
      mark(link, "aria-current", link.dataset.view === (place.view === "task" ? "tasks" : place.view) ? "page" : null);
    }
    const title = TITLES[place.view] ?? `Task ${place.task.slice(-8)}`;
    document.title = `${title} · streaming`;
    if (before?.view !== place.view || before.task !== place.task) this._arrive(title, before);
    this._view.show(place);
  }

  /** Another place is shown: from its beginning, and read out to those who do not see it. */
  _arrive(title, before) {
    this._main.scrollTop = 0;
    mark(this._main, "aria-label", title);
    if (before) this._main.focus({ preventScroll: true });
    if (before?.task && this._place.view === "tasks") this._view.returnTo(before.task);
  }

  _click(event) {
    const link = event.target.closest?.("a[href]");
    const isOther = event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
    if (!link || event.defaultPrevented || isOther || link.download) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || url.pathname !== location.pathname || url.hash) return;
    event.preventDefault();
    history[link.dataset.replace ? "replaceState" : "pushState"](null, "", url.search || "?");
    this._show();
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input,textarea,select,dialog")) return;
    const work = {
      "/": () => document.getElementById("search")?.focus(),
      n: () => this.may("tasks:write") && this.go({ view: "new" }),
      t: () => this.go({ view: "tasks" }),
      s: () => this.may("metrics:read") && this.go({ view: "server" }),
      "?": () => void this._help(),
    }[event.key];
    if (!work) return;
    event.preventDefault();
    work();
  }

  _help() {
    const keys = KEYS.map(([key, words]) => [h("kbd", {}, key), words]);
    return ask({ title: "Keys", yes: "Good", no: "Close", body: pairs(keys) });
  }
}

const pairs = (all) => h("dl", {}, all.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** A browser may keep nothing: then nothing is remembered. */
function kept(work) {
  try {
    return work();
  } catch {
    return null;
  }
}

if (document.getElementById("app")) void new App().begin();
