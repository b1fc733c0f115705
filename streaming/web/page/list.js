/**
 * The list of tasks: what the filters in the URL ask for, kept up to date by the feed.
 *
 * Owns:   the list, its filters, its counts, and what is done with all of its tasks at once.
 * Uses:   rows.js (what is known of the tasks).
 * Never:  decides which task belongs into the list: it asks the server.
 */

import { filterOf, sortOf, toggled, withFilter, writePlace } from "./address.js";
import { ask, nothing, tell, tellProblem } from "./dialog.js";
import { h, mark, perFrame, put, say, spaced } from "./dom.js";
import { STATUSES, TERMINAL, ago, brief, count, duration, etaRange, lifetime, statusWords } from "./format.js";
import { Rows, isDoubtful } from "./rows.js";
import { VirtualList } from "./virtual.js";

/** Tasks that are fetched at once, tasks that are shown at most, ids in one question. */
const PAGE = 200;
const SHOWN_MAX = 5000;
const IDS_MAX = 100;

/** Seconds after which it is asked anew when the tasks that are seen may end, and whether they are still there. */
const SEEN_S = 10;

/** By so much the clock of the server may have been set back. */
const BACK_MS = 3000;

const FIELDS = [["tag", "Tag"], ["created_by", "Who"], ["created_at[gte]", "Created since", "datetime-local"]];

/** These chips are there also where their number is 0. */
const ALWAYS = ["pending", "running", "completed", "failed"];

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
    this._left = new Set();
    this._counts = new Map();
    this._paused = false;
    this._cursor = null;
    this._filters = [];
    this._list = new VirtualList({
      rowHeight: 52, create: () => new Row(this).element, update: (row, index) => row.row.show(this._rows.list[index]),
      keyOf: (index) => this._rows.list[index]?.id ?? index, label: "tasks", role: "rowgroup",
    });
    this._list.onRange = (first, last) => {
      this._seen = [first, last];
      if (last > this._rows.list.length - 30) void this._fetchMore();
    };
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
    for (const timer of [this._check, this._recount, this._typed, this._draw]) timer.stop();
    this._asked?.abort();
  }

  /** One comes back from a task: its row gets the focus, if it is among the first. */
  returnTo(id) {
    this._returnTo = id;
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  _head() {
    this._chips = h("div.chips", { role: "group", "aria-label": "status" });
    this._search = h("input.search", {
      type: "search", placeholder: "Search: words in type, tags, parameters, errors", "aria-label": "search", id: "search",
      oninput: () => this._typed(),
    });
    this._type = this._select("type", "all types", []);
    this._sort = this._select("sort", null, SORTS);
    this._fields = FIELDS.map(([name, label, type]) => this._field(name, label, type));
    this._pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => this._setPaused(!this._paused) }, "Pause");
    this._bulk = h("button", { type: "button", hidden: true, onclick: () => this._cancelAll() }, "Cancel these …");
    const start = this._app.may("tasks:write") && h("a.button.primary", { href: writePlace({ view: "new" }) }, "Start a task");
    this._more = h("details.filter-details", {},
      h("summary.button", {}, "Filters"), h("div.more-filters", {}, this._fields.map(({ element }) => element)));
    this._more.addEventListener("keydown", (event) => event.key === "Escape" && this._closeMore());
    this._active = h("div.active-filters");
    return h("header.list-head", {},
      h("div.title-row", {}, h("h1", { id: "list-title" }, "Tasks"), h("div.spacer"), this._bulk, this._pause, start),
      this._chips, h("div.filters", {}, this._search, this._type, this._sort, this._more), this._active);
  }

  _closeMore() {
    this._more.open = false;
    this._more.querySelector("summary").focus();
  }

  _select(name, all, options) {
    const select = h("select", { "aria-label": name, onchange: () => this._set(name, select.value) },
      all && h("option", { value: "" }, all), options.map(([value, words]) => h("option", { value }, words)));
    return select;
  }

  /** A field for one filter; a time is typed on the reader's clock, and asked for in UTC. */
  _field(name, label, type = "text") {
    const isTime = type === "datetime-local";
    const read = () => (isTime && input.value ? new Date(input.value).toISOString() : input.value.trim());
    const input = h("input", { type, onchange: () => this._set(name, read()) });
    const show = (value) => (input.value = isTime ? localTime(value) : value);
    return { name, show, element: h("label.field", {}, h("span", {}, label), input) };
  }

  _table() {
    const columns = ["Task", "Status", "Progress", "Left", "Age", "Attempt", "Who"];
    this._news = h("button.news", { type: "button", hidden: true, onclick: () => this._toNew() });
    this._empty = h("div.empty", { hidden: true });
    this._rest = h("p.muted.rest", { hidden: true },
      `Only the first ${count(SHOWN_MAX)} are shown: filters, or another order, bring the others.`);
    const head = h("div.thead", { role: "rowgroup" },
      h("div.trow", { role: "row", "aria-rowindex": 1 }, columns.map((name) => h("span", { role: "columnheader" }, name))));
    this._frame = h("div.table", { role: "table", "aria-label": "tasks" }, head, this._list.element);
    return h("div.table-box", {}, this._news, this._frame, this._rest, this._empty);
  }

  _redraw() {
    const rows = this._rows.list.length;
    this._list.setRowHeight(matchMedia("(max-width: 720px)").matches ? 84 : 52);
    if (this._list.count === rows) this._list.draw();
    else this._list.setCount(rows);
    mark(this._frame, "aria-rowcount", this._cursor ? -1 : rows + 1); // -1: nobody knows how many there are
    mark(this._frame, "aria-busy", this._loaded ? null : "true");
    const hidden = this._new.size;
    this._news.hidden = !hidden;
    say(this._news, `${hidden > 999 ? "999+" : hidden} new ↑`);
    const empty = this._loaded && !rows;
    this._empty.hidden = !empty;
    this._frame.hidden = empty;
    this._rest.hidden = !((this._cursor || this._trimmed) && rows >= SHOWN_MAX);
  }

  // -- what is asked for -----------------------------------------------------------------------------------------

  /** @param {import("./address.js").Place} place */
  show(place) {
    this._filters = place.filters;
    this._rows = new Rows(sortOf(place.filters));
    for (const ids of [this._new, this._left, this._doubtful]) ids.clear();
    this._loaded = false;
    this._failed = this._trimmed = false;
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
    this._showSort();
    this._type.value = known("type");
    for (const { name, show } of this._fields) show(known(name));
    const others = this._filters.filter(([name]) => !["q", "sort", "status", "type"].includes(name));
    put(this._active, others.map(([name, value]) => h("button.chip", {
      type: "button", "aria-label": `without ${name} ${brief(value, 40)}`, onclick: () => this._without(name),
    }, h("span.cut", {}, `${name} ${brief(value, 40)}`), h("span", { "aria-hidden": "true" }, "×"))));
    this._bulk.hidden = !(this._app.may("tasks:cancel") && this._filters.some(([name]) => name !== "sort"));
    this._showChips();
  }

  /** The order that is chosen, also one that only the URL can ask for. */
  _showSort() {
    const sort = sortOf(this._filters);
    const known = SORTS.some(([value]) => value === sort);
    this._sort.querySelector("[data-own]")?.remove();
    if (!known) this._sort.append(h("option", { value: sort, "data-own": true }, `by ${brief(sort, 40)}`));
    this._sort.value = sort;
  }

  /** Its button is gone then: the focus goes to the search. */
  _without(name) {
    this._set(name, "");
    this._search.focus();
  }

  async _showTypes() {
    const types = await this._app.types();
    const value = filterOf(this._filters, "type");
    const names = types.map(({ name }) => name);
    if (value && !names.includes(value)) names.push(value);
    put(this._type, h("option", { value: "" }, "all types"), names.map((name) => h("option", { value: name }, brief(name, 60))));
    this._type.value = value;
  }

  /** The feed is there (again): what has changed since the list was asked for may have been missed. */
  async _catchUp() {
    const rows = this._rows;
    const newest = Math.max(...rows.list.map((task) => Date.parse(task.updated_at)));
    if (!Number.isFinite(newest) || this._failed) return void this._reload();
    const since = new Date(newest - BACK_MS).toISOString();
    try {
      const page = await this._app.api.get("/tasks", [["updated_at[gte]", since], ["limit", IDS_MAX]]);
      if (rows !== this._rows) return;
      if (page.next_cursor) return void this._reload();
      for (const { id } of page.tasks) this._doubtful.add(id);
      if (page.tasks.length) this._check();
    } catch {
      if (rows === this._rows) void this._reload();
    }
  }

  async _reload() {
    this._asked?.abort();
    const asked = new AbortController();
    this._asked = asked;
    this._recount();
    try {
      const page = await this._app.api.get("/tasks", [...this._filters, ["limit", PAGE]], asked.signal);
      if (asked.signal.aborted) return;
      this._rows = new Rows(sortOf(this._filters)); // what was deleted meanwhile is not in it
      this._rows.add(page.tasks);
      this._cursor = page.next_cursor;
      this._loaded = true;
      this._failed = false;
      put(this._empty, this._nothing());
      if (this._doubtful.size) this._check(); // what was heard while nobody knew the tasks
      this._focusReturned();
    } catch (problem) {
      if (asked.signal.aborted) return;
      this._loaded = true;
      this._failed = true;
      put(this._empty, nothing("This list cannot be shown", problem.detail ?? problem.message,
        h("a.button", { href: writePlace({ view: "tasks" }) }, "All tasks"),
        h("button", { type: "button", onclick: () => this._reload() }, "Try again")));
    }
    this._draw();
  }

  _focusReturned() {
    const index = this._rows.list.findIndex(({ id }) => id === this._returnTo);
    this._returnTo = null;
    if (index < 0) return;
    this._redraw();
    this._list.focusOn(index);
  }

  _nothing() {
    if (this._filters.some(([name]) => name !== "sort")) {
      return nothing("No task matches", "Nothing that you may see passes these filters.",
        h("a.button", { href: writePlace({ view: "tasks" }) }, "All tasks"));
    }
    const start = this._app.may("tasks:write") && h("a.button.primary", { href: writePlace({ view: "new" }) }, "Start a task");
    return nothing("No tasks yet", "Whatever is started appears here at once, whoever starts it.", start);
  }

  /** The next page, where one scrolls there. */
  async _fetchMore() {
    if (!this._cursor || this._fetching || this._rows.list.length >= SHOWN_MAX) return;
    this._fetching = true;
    const rows = this._rows;
    try {
      const query = [...this._filters, ["limit", PAGE], ["cursor", this._cursor]];
      const page = await this._app.api.get("/tasks", query, this._asked?.signal);
      if (rows !== this._rows) return;
      rows.add(page.tasks);
      this._cursor = page.next_cursor;
      this._draw();
    } catch (problem) {
      if (rows === this._rows && problem.name !== "AbortError") tellProblem(problem);
    } finally {
      this._fetching = false;
    }
  }

  async _count() {
    const asked = this._filters;
    try {
      const filters = asked.filter(([name]) => name !== "status" && name !== "sort");
      const { groups } = await this._app.api.get("/tasks/count", [...filters, ["group_by", "status"]]);
      if (asked === this._filters) this._counts = new Map(groups.map(({ status, count }) => [status, count]));
    } catch (problem) {
      if (problem.code !== "bad_filter" || asked !== this._filters) return;
      this._counts = new Map();
    }
    this._showChips();
  }

  /** The same buttons each time: the focus stays on them. */
  _showChips() {
    const chosen = statusesOf(this._filters);
    const all = [...this._counts.values()].reduce((sum, each) => sum + each, 0);
    if (!this._chips.childElementCount) put(this._chips, ["", ...STATUSES].map((status) => this._chip(status)));
    for (const chip of this._chips.children) {
      const { status } = chip.dataset;
      const number = status ? this._counts.get(status) ?? 0 : all;
      chip.hidden = Boolean(status) && !number && !chosen.includes(status) && !ALWAYS.includes(status);
      mark(chip, "aria-pressed", String(status ? chosen.includes(status) : !chosen.length));
      say(chip.lastChild, count(number));
    }
  }

  _chip(status) {
    const choose = () => this._set("status", status && toggled(statusesOf(this._filters), status).join(","));
    return h(`button.chip${status ? `.status-${status}` : ""}`, { type: "button", "data-status": status, onclick: choose },
      status && h("i.dot"), status ? statusWords(status) : "all", h("b"));
  }

  /** When a task may end, and that it was deleted, is no event: it is asked for anew of those that are seen. */
  _tick() {
    this._ticks = (this._ticks ?? 0) + 1;
    const seen = this._seen && this._ticks % SEEN_S === 0 ? this._rows.list.slice(this._seen[0], this._seen[1] + 1) : [];
    for (const task of seen) this._doubtful.add(task.id);
    if (this._doubtful.size) this._check();
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
      const query = [...this._filters, ["id[in]", ids.join(",")], ["limit", IDS_MAX]];
      const { tasks } = await this._app.api.get("/tasks", query);
      if (rows === this._rows) this._take(ids, tasks);
    } catch (problem) {
      if (rows !== this._rows) return;
      if (problem.temporary) for (const id of ids) this._doubtful.add(id); // asked again with the next second
      return;
    }
    if (this._doubtful.size) this._check();
  }

  _take(ids, tasks) {
    const found = new Set(tasks.map(({ id }) => id));
    const known = tasks.filter(({ id }) => this._rows.get(id));
    const fresh = tasks.filter(({ id }) => !this._rows.get(id));
    const gone = ids.filter((id) => !found.has(id));
    this._rows.add(known);
    for (const id of gone) this._new.delete(id);
    if (this._paused) for (const id of gone) this._left.add(id);
    else this._rows.remove(gone);
    if (this._paused || !this._list.atTop) for (const { id } of fresh) this._new.add(id);
    else this._rows.add(fresh);
    if (this._rows.trim(SHOWN_MAX)) this._trimmed = true;
    this._draw();
  }

  _setPaused(paused) {
    this._paused = paused;
    mark(this._pause, "aria-pressed", String(paused));
    say(this._pause, paused ? "Go on" : "Pause");
    if (paused) return;
    for (const id of this._left) this._doubtful.add(id);
    this._left.clear();
    if (this._doubtful.size) this._check();
    this._showNew();
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

  async _cancelAll() {
    const filters = this._filters.filter(([name]) => name !== "sort");
    const path = "/tasks/cancel";
    try {
      const { matched } = await this._app.api.post(path, undefined, [...filters, ["dry_run", "true"]]);
      if (!matched) return void tell("None of these tasks can be cancelled: all have ended, or are being cancelled.");
      const answer = await ask({
        title: `Cancel ${count(matched)} ${matched === 1 ? "task" : "tasks"}?`,
        body: [
          h("p", {}, "All tasks that match these filters and have not ended are cancelled, also those that you do not see. ",
            "This cannot be taken back."),
          h("p", {}, filters.map(([name, value]) => h("code.chip", {}, `${name} = ${brief(value, 60)}`))),
        ],
        yes: "Cancel them", no: "Keep them", danger: true, type: String(matched),
        fields: [{ name: "reason", label: "Reason, shown to every reader", hint: "optional" }],
      });
      if (!answer) return;
      const done = await this._app.api.post(path, { reason: answer.reason }, filters);
      const refused = done.refused.length ? `, ${done.refused.length} refused` : "";
      tell(`${count(done.cancelled)} cancelled${refused}${done.more ? "; there are more" : ""}.`);
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
    this._link = h("a.task-link", { tabindex: "-1" }, this._name, this._id);
    this._status = h("span.badge");
    this._bar = h("i");
    this._percent = h("span.percent");
    this._message = h("span.message.muted");
    this._meter = h("span.meter",
      { role: "progressbar", "aria-label": "progress", "aria-valuemin": "0", "aria-valuemax": "100" }, this._bar);
    this._left = h("span.left", { role: "cell" });
    this._took = h("span");
    this._ago = h("small");
    this._age = h("span.age", { role: "cell" }, this._took, this._ago);
    this._attempt = h("span.attempt", { role: "cell" });
    this._who = h("span.who", { role: "cell" });
    this.element = h("div.trow", { role: "row" },
      h("span.name", { role: "cell" }, this._link), h("span.status", { role: "cell" }, this._status),
      h("span.progress", { role: "cell" }, h("span.progress-line", {}, this._meter, this._percent), this._message),
      this._left, this._age, this._attempt, this._who);
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
    const over = TERMINAL.has(task.status);
    const said = task.error && over ? task.error.message : task.progress?.message ?? task.steps?.current ?? "";
    say(this._message, brief(said, 80));
    say(this._left, leftWords(task, now));
    say(this._took, duration(lifetime(task, now)));
    say(this._ago, over ? ago(task.finished_at, now) : "so far");
    say(this._attempt, task.attempt > 1 ? `× ${task.attempt}` : "1");
  }
}

/** The statuses that are asked for. */
const statusesOf = (filters) => filterOf(filters, "status").split(",").filter(Boolean);

/** A time as a field for it has it, on the reader's clock; nothing where it is none. */
function localTime(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
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
