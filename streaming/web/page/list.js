/**
 * The list of tasks: what the filters in the URL ask for, kept up to date by the feed.
 *
 * Owns:   the list, its filters, its counts, and what is done with all of its tasks at once.
 * Uses:   rows.js (what is known of the tasks).
 * Never:  decides which task belongs into the list: it asks the server.
 */

import { filterOf, withFilter, writePlace } from "./address.js";
import { ask, nothing, tell, tellProblem } from "./dialog.js";
import { h, mark, perFrame, put, say, spaced } from "./dom.js";
import { STATUSES, TERMINAL, ago, brief, count, duration, etaRange, lifetime, statusWords } from "./format.js";
import { Rows, isDoubtful } from "./rows.js";
import { VirtualList } from "./virtual.js";

/** Tasks that are fetched at once, tasks that are shown at most, ids in one question. */
const PAGE = 200;
const SHOWN_MAX = 5000;
const IDS_MAX = 100;

/** Seconds after which it is asked anew when the tasks that are seen may end. */
const ETA_S = 10;

/** By so much the clock of the server may have been set back. */
const BACK_MS = 3000;

const SORTS = [
  ["-created_at", "newest first"],
  ["created_at", "oldest first"],
  ["-updated_at", "last change first"],
  ["-progress", "most progress first"],
  ["-priority,created_at", "urgent first"],
  ["type,-created_at", "by type"],
  ["-finished_at", "last end first"],
];

export class ListView {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this._app = app;
    this._rows = new Rows();
    this._doubtful = new Set();
    this._new = new Set();
    this._paused = false;
    this._cursor = null;
    this._filters = [];
    this._list = new VirtualList({ rowHeight: 52, create: () => new Row(this).element, update: (row, index) => row.row.show(this._rows.list[index]), label: "tasks", role: "rowgroup" });
    this._list.onRange = (first, last) => {
      this._seen = [first, last];
      if (last > this._rows.list.length - 30) void this._more();
    };
    this._list.element.addEventListener("keydown", (event) => this._key(event));
    this._list.element.addEventListener("scroll", () => this._list.atTop && this._showNew());
    this._draw = perFrame(() => this._redraw());
    this._check = spaced(() => this._settle(), 700);
    this._recount = spaced(() => this._count(), 1000);
    this._typed = spaced(() => this._set("q", this._search.value.trim()), 300);
    this.element = h("section.list-view", { "aria-labelledby": "list-title" }, this._head(), this._table());
    app.onEvent(this, (event) => this._heard(event));
    app.onTick(this, () => this._tick());
    app.onOpen(this, () => this._catchUp());
  }

  close() {
    this._app.forget(this);
    this._list.close();
    for (const timer of [this._check, this._recount, this._typed]) timer.stop();
    this._asked?.abort();
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  _head() {
    this._chips = h("div.chips", { role: "group", "aria-label": "status" });
    this._search = h("input.search", { type: "search", placeholder: "Search: words in type, tags, parameters, errors", "aria-label": "search", id: "search", oninput: () => this._typed() });
    this._type = this._select("type", "all types", []);
    this._sort = this._select("sort", null, SORTS);
    this._more_ = h("div.more-filters", {}, this._field("tag", "tag"), this._field("created_by", "who"), this._field("created_at[gte]", "since", "datetime-local"));
    this._pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => this._setPaused(!this._paused) }, "Pause");
    this._bulk = h("button", { type: "button", hidden: true, onclick: () => this._cancelAll() }, "Cancel these …");
    const start = this._app.may("tasks:write") && h("a.button.primary", { href: writePlace({ view: "new" }) }, "Start a task");
    return h("header.list-head", {},
      h("div.title-row", {}, h("h1", { id: "list-title" }, "Tasks"), h("div.spacer"), this._bulk, this._pause, start),
      this._chips,
      h("div.filters", {}, this._search, this._type, this._sort, h("details.filter-details", {}, h("summary.button", {}, "Filters"), this._more_)),
      (this._active = h("div.active-filters")));
  }

  _select(name, all, options) {
    const select = h("select", { "aria-label": name, onchange: () => this._set(name, select.value) }, all && h("option", { value: "" }, all),
      options.map(([value, words]) => h("option", { value }, words)));
    return select;
  }

  _field(name, label, type = "text") {
    const input = h("input", { type, onchange: () => this._set(name, type === "datetime-local" && input.value ? new Date(input.value).toISOString() : input.value.trim()) });
    return h("label.field", {}, h("span", {}, label), input);
  }

  _table() {
    const columns = ["Task", "Status", "Progress", "Left", "Age", "Attempt", "Who"];
    this._news = h("button.news", { type: "button", hidden: true, onclick: () => this._toNew() });
    this._empty = h("div.empty", { hidden: true });
    const head = h("div.thead", { role: "rowgroup" }, h("div.trow", { role: "row" }, columns.map((name) => h("span", { role: "columnheader" }, name))));
    this._frame = h("div.table", { role: "table", "aria-label": "tasks" }, head, this._list.element);
    return h("div.table-box", {}, this._news, this._frame, this._empty);
  }

  _redraw() {
    this._list.setRowHeight(matchMedia("(max-width: 720px)").matches ? 84 : 52);
    if (this._list.count === this._rows.list.length) this._list.draw();
    else this._list.setCount(this._rows.list.length);
    mark(this._frame, "aria-rowcount", this._rows.list.length + 1);
    const hidden = this._new.size;
    this._news.hidden = !hidden;
    say(this._news, `${hidden > 999 ? "999+" : hidden} new`);
    const empty = this._loaded && !this._rows.list.length;
    this._empty.hidden = !empty;
    this._frame.hidden = empty;
  }

  // -- what is asked for -----------------------------------------------------------------------------------------

  /** @param {import("./address.js").Place} place */
  show(place) {
    this._filters = place.filters;
    this._rows = new Rows(filterOf(place.filters, "sort") || "-created_at");
    this._new.clear();
    this._doubtful.clear();
    this._loaded = false;
    this._cursor = null;
    this._list.element.scrollTop = 0;
    this._showFilters();
    void this._reload();
    void this._showTypes();
  }

  _set(name, value) {
    this._app.go({ view: "tasks", filters: withFilter(this._filters, name, value) }, { replace: name === "q" });
  }

  _showFilters() {
    const known = (name) => filterOf(this._filters, name);
    if (document.activeElement !== this._search) this._search.value = known("q");
    this._sort.value = known("sort") || "-created_at";
    this._type.value = known("type");
    const others = this._filters.filter(([name]) => !["q", "sort", "status", "type"].includes(name));
    put(this._active, others.map(([name, value]) => h("button.chip", { type: "button", onclick: () => this._set(name, "") }, `${name} ${brief(value, 40)} ×`)));
    this._bulk.hidden = !(this._app.may("tasks:cancel") && this._filters.some(([name]) => name !== "sort"));
  }

  async _showTypes() {
    const types = await this._app.types();
    const value = filterOf(this._filters, "type");
    put(this._type, h("option", { value: "" }, "all types"), types.map(({ name }) => h("option", { value: name, selected: name === value }, name)));
    if (value && !types.some(({ name }) => name === value)) this._type.append(h("option", { value, selected: true }, value));
  }

  /** The feed is there (again): what has changed since the list was asked for may have been missed. */
  async _catchUp() {
    const newest = Math.max(...this._rows.list.map((task) => Date.parse(task.updated_at)));
    if (!Number.isFinite(newest)) return void this._reload();
    const since = new Date(newest - BACK_MS).toISOString();
    try {
      const page = await this._app.api.get("/tasks", [["updated_at[gte]", since], ["limit", IDS_MAX]]);
      if (page.next_cursor) return void this._reload();
      for (const { id } of page.tasks) this._doubtful.add(id);
      if (page.tasks.length) this._check();
    } catch {
      void this._reload();
    }
  }

  async _reload() {
    this._asked?.abort();
    this._asked = new AbortController();
    this._recount();
    try {
      const page = await this._app.api.get("/tasks", [...this._filters, ["limit", PAGE]], this._asked.signal);
      if (!this._loaded) this._rows = new Rows(filterOf(this._filters, "sort") || "-created_at");
      this._rows.add(page.tasks);
      this._cursor = page.next_cursor;
      this._loaded = true;
      put(this._empty, this._nothing());
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this._loaded = true;
      put(this._empty, nothing("This list cannot be shown", problem.detail ?? problem.message,
        h("a.button", { href: writePlace({ view: "tasks" }) }, "All tasks"), h("button", { type: "button", onclick: () => this._reload() }, "Try again")));
    }
    this._draw();
  }

  _nothing() {
    if (this._filters.length) return nothing("No task matches", "Nothing that you may see passes these filters.", h("a.button", { href: writePlace({ view: "tasks" }) }, "All tasks"));
    const start = this._app.may("tasks:write") && h("a.button.primary", { href: writePlace({ view: "new" }) }, "Start a task");
    return nothing("No tasks yet", "Whatever is started appears here at once, whoever starts it.", start);
  }

  /** The next page, where one scrolls there. */
  async _more() {
    if (!this._cursor || this._fetching || this._rows.list.length >= SHOWN_MAX) return;
    this._fetching = true;
    const rows = this._rows;
    try {
      const page = await this._app.api.get("/tasks", [...this._filters, ["limit", PAGE], ["cursor", this._cursor]], this._asked?.signal);
      if (rows !== this._rows) return;
      rows.add(page.tasks);
      this._cursor = page.next_cursor;
      this._draw();
    } catch (problem) {
      if (problem.name !== "AbortError") tellProblem(problem);
    } finally {
      this._fetching = false;
    }
  }

  async _count() {
    const filters = this._filters.filter(([name]) => name !== "status" && name !== "sort");
    try {
      const { groups } = await this._app.api.get("/tasks/count", [...filters, ["group_by", "status"]]);
      this._counts = new Map(groups.map(({ status, count }) => [status, count]));
    } catch (problem) {
      if (problem.code !== "bad_filter") return;
      this._counts = new Map();
    }
    this._showChips();
  }

  _showChips() {
    const chosen = filterOf(this._filters, "status");
    const all = [...this._counts.values()].reduce((sum, each) => sum + each, 0);
    const chip = (value, words, number) => h(`button.chip${value ? `.status-${value}` : ""}`, { type: "button", "aria-pressed": String(chosen === value), onclick: () => this._set("status", chosen === value ? "" : value) },
      value && h("i.dot"), words, h("b", {}, count(number)));
    put(this._chips, chip("", "all", all), STATUSES.filter((each) => this._counts.get(each) || each === chosen || ["pending", "running", "completed", "failed"].includes(each)).map((each) => chip(each, statusWords(each), this._counts.get(each) ?? 0)));
  }

  /** When a task may end is no event: it is asked for anew of those that are seen. */
  _tick() {
    this._ticks = (this._ticks ?? 0) + 1;
    if (this._ticks % ETA_S === 0 && this._seen) {
      for (const task of this._rows.list.slice(this._seen[0], this._seen[1] + 1)) if (task.status === "running") this._doubtful.add(task.id);
      if (this._doubtful.size) this._check();
    }
    this._draw();
  }

  // -- what the feed tells ---------------------------------------------------------------------------------------

  _heard(event) {
    if (this._rows.apply(event)) this._draw();
    if (!isDoubtful(event)) return;
    this._recount();
    this._doubtful.add(event.task_id);
    this._check();
  }

  /** Ask the server which of the doubtful tasks are in the list. */
  async _settle() {
    const ids = [...this._doubtful].slice(0, IDS_MAX);
    if (!ids.length || !this._loaded) return;
    for (const id of ids) this._doubtful.delete(id);
    const rows = this._rows;
    try {
      const { tasks } = await this._app.api.get("/tasks", [...this._filters, ["id[in]", ids.join(",")], ["limit", IDS_MAX]]);
      if (rows === this._rows) this._take(ids, tasks);
    } catch (problem) {
      if (problem.status >= 500 || !problem.status) for (const id of ids) this._doubtful.add(id);
    }
    if (this._doubtful.size) this._check();
  }

  _take(ids, tasks) {
    const found = new Set(tasks.map(({ id }) => id));
    const known = tasks.filter(({ id }) => this._rows.get(id));
    const fresh = tasks.filter(({ id }) => !this._rows.get(id));
    this._rows.add(known);
    if (!this._paused) this._rows.remove(ids.filter((id) => !found.has(id)));
    if (this._paused || !this._list.atTop) for (const { id } of fresh) this._new.add(id);
    else this._rows.add(fresh);
    this._rows.trim(SHOWN_MAX);
    if (this._rows.list.length) this._loaded = true;
    this._draw();
  }

  _setPaused(paused) {
    this._paused = paused;
    mark(this._pause, "aria-pressed", String(paused));
    say(this._pause, paused ? "Go on" : "Pause");
    if (!paused) this._showNew();
  }

  _toNew() {
    this._list.element.scrollTop = 0;
    this._setPaused(false);
    this._showNew();
  }

  _showNew() {
    if (this._paused || !this._new.size) return;
    for (const id of this._new) this._doubtful.add(id);
    this._new.clear();
    this._check();
    this._draw();
  }

  // -- what is done ----------------------------------------------------------------------------------------------

  _key(event) {
    const links = [...this._list.element.querySelectorAll("a.task-link")].filter((link) => link.offsetParent);
    links.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !links.length) return;
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + step))];
    next.focus();
    event.preventDefault();
  }

  async _cancelAll() {
    const filters = this._filters.filter(([name]) => name !== "sort");
    const path = "/tasks/cancel";
    try {
      const { matched } = await this._app.api.post(path, undefined, [...filters, ["dry_run", "true"]]);
      if (!matched) return void tell("None of these tasks can be cancelled: all have ended, or are being cancelled.");
      const answer = await ask({
        title: `Cancel ${count(matched)} ${matched === 1 ? "task" : "tasks"}?`,
        body: [h("p", {}, "All tasks that match these filters and have not ended are cancelled, also those that you do not see. This cannot be taken back."), h("p", {}, filters.map(([name, value]) => h("code.chip", {}, `${name} = ${brief(value, 60)}`)))],
        yes: "Cancel them", no: "Keep them", danger: true, type: String(matched),
        fields: [{ name: "reason", label: "Reason, shown to every reader", hint: "optional" }],
      });
      if (!answer) return;
      const done = await this._app.api.post(path, { reason: answer.reason }, filters);
      tell(`${count(done.cancelled)} cancelled${done.refused.length ? `, ${done.refused.length} refused` : ""}${done.more ? "; there are more" : ""}.`);
    } catch (problem) {
      tellProblem(problem);
    }
  }

  get app() {
    return this._app;
  }
}

/** One row; it is used for one task after the other. */
class Row {
  constructor(view) {
    this._app = view.app;
    this._name = h("b");
    this._id = h("code.muted");
    this._link = h("a.task-link", {}, this._name, this._id);
    this._status = h("span.badge");
    this._bar = h("i");
    this._percent = h("span.percent");
    this._message = h("span.message.muted");
    this._meter = h("span.meter", { role: "progressbar", "aria-label": "progress", "aria-valuemin": "0", "aria-valuemax": "100" }, this._bar);
    this._left = h("span.left", { role: "cell" });
    this._took = h("span");
    this._ago = h("small");
    this._age = h("span.age", { role: "cell" }, this._took, this._ago);
    this._attempt = h("span.attempt", { role: "cell" });
    this._who = h("span.who", { role: "cell" });
    this.element = h("div.trow", { role: "row", onclick: (event) => event.target.closest("a") || this._link.click() },
      h("span.name", { role: "cell" }, this._link), h("span.status", { role: "cell" }, this._status),
      h("span.progress", { role: "cell" }, h("span.progress-line", {}, this._meter, this._percent), this._message), this._left, this._age, this._attempt, this._who);
    this.element.row = this;
  }

  show(task) {
    if (!task) return;
    const now = this._app.now();
    if (this._task !== task.id) {
      this._task = task.id;
      say(this._name, task.type);
      say(this._id, task.id.slice(-8));
      mark(this._link, "href", writePlace({ view: "task", task: task.id }));
      say(this._who, task.created_by);
    }
    showStatus(this._status, task);
    showProgress(this._meter, this._bar, this._percent, task);
    const said = task.error && TERMINAL.has(task.status) ? task.error.message : task.progress?.message ?? task.steps?.current ?? "";
    say(this._message, brief(said, 80));
    say(this._left, leftWords(task, now));
    say(this._took, duration(lifetime(task, now)));
    say(this._ago, TERMINAL.has(task.status) ? ago(task.finished_at, now) : "so far");
    say(this._attempt, task.attempt > 1 ? `× ${task.attempt}` : "1");
  }
}

/** A status as a badge. */
export function showStatus(badge, task) {
  const cancelling = task.cancel && !TERMINAL.has(task.status);
  const words = cancelling ? (task.cancel.outcome === "ignored" ? "cancel ignored" : "cancelling") : statusWords(task.status);
  const name = `badge status-${cancelling ? "cancelling" : task.status}`;
  if (badge.className !== name) badge.className = name;
  say(badge, words);
}

/** How far a task is, as a bar. */
export function showProgress(meter, bar, words, task) {
  const percent = task.status === "completed" ? 100 : task.progress?.percent ?? null;
  bar.style.transform = `scaleX(${(percent ?? 0) / 100})`;
  mark(meter, "aria-valuenow", percent === null ? null : Math.round(percent));
  mark(meter, "data-kind", percent === null && task.status === "running" ? "unknown" : task.status);
  say(words, percent === null ? "" : `${Math.floor(percent)} %`);
}

/** What is known of the end. */
export function leftWords(task, now) {
  if (task.status === "running") return etaRange(task.eta, now);
  return task.status === "retrying" && task.retry_at ? `again in ${duration((Date.parse(task.retry_at) - now) / 1000)}` : "";
}
