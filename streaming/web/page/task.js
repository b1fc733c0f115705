/**
 * One task: what it does now, all that it has done, and what can be done with it.
 *
 * Owns:   the parts of that view, and what keeps them up to date.
 * Uses:   events.js (its log), series.js (its plots), replay.js (which time is shown), rows.js (what an event changes).
 * Never:  guesses: what an event does not say is asked for.
 */

import { actionsOf, taskLink } from "./actions.js";
import { writePlace } from "./address.js";
import { nothing, tellProblem } from "./dialog.js";
import { h, mark, perFrame, put, say, spaced } from "./dom.js";
import { EventLog } from "./events.js";
import { EventTable } from "./event_table.js";
import { TERMINAL, ago, count, duration, lifetime, moment, rate, statusWords } from "./format.js";
import { copy, jsonView } from "./json_tree.js";
import { leftWords, showProgress, showStatus } from "./list.js";
import { Plot } from "./plots.js";
import { Replay } from "./replay.js";
import { changesOf, isDoubtful } from "./rows.js";
import { places, progressPoints, ratePoints } from "./series.js";
import { Timeline } from "./timeline.js";
import { whyView } from "./why.js";

/** Seconds after which it is asked anew when the task may end. */
const ETA_S = 10;

const TABS = [
  ["events", "Events"],
  ["lines", "Log lines"],
  ["result", "Result"],
  ["params", "Parameters"],
  ["family", "Family"],
  ["history", "History"],
  ["why", "Why?"],
];

export class TaskView {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this._app = app;
    this._log = null;
    this._live = [];
    this.element = h("section.task-view", { "aria-label": "task" });
    this._draw = perFrame(() => this._redraw());
    this._refetch = spaced(() => this._fetch(), 1000);
    this._replot = spaced(() => this._plot(), 1000);
    app.onTick(this, () => this._tick());
    app.onOpen(this, () => this._fetch());
    app.onLog(this, (event) => this._heard(event));
  }

  close() {
    this._app.forget(this);
    this._app.watch(null);
    this._refetch.stop();
    this._replot.stop();
    this._replay?.close();
    this._events?.close();
    this._lines?.close();
  }

  /** @param {import("./address.js").Place} place */
  show(place) {
    this._tab = TABS.some(([name]) => name === place.tab) ? place.tab : "events";
    if (place.task === this._id) return void this._showTab();
    this._id = place.task;
    void this._open();
  }

  async _open() {
    const id = this._id;
    put(this.element, h("p.muted.loading", {}, "…"));
    try {
      const task = await this._app.api.get(`/tasks/${id}`);
      if (id !== this._id) return;
      this._task = task;
    } catch (problem) {
      put(this.element, nothing(problem.status === 404 ? "This task is not there" : "This task cannot be shown", problem.detail ?? problem.message,
        h("a.button", { href: writePlace({ view: "tasks" }) }, "All tasks"), h("button", { type: "button", onclick: () => this._open() }, "Try again")));
      return;
    }
    this._build();
    await Promise.all([this._history(), this._plot()]);
    if (!TERMINAL.has(this._task.status)) this._app.watch(id, this._task.last_seq);
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  _build() {
    const task = this._task;
    this._log = new EventLog((after, limit) => this._page(after, limit));
    this._log.grow(task.last_seq);
    this._log.onNews = () => this._events.draw();
    this._events?.close();
    this._lines?.close();
    this._events = new EventTable(this._log);
    this._lines = new EventTable(this._log, "log");
    this._timeline = new Timeline();
    this._progress = new Plot({ title: "Progress", most: 100, words: (value) => `${Math.round(value)} %` });
    this._rate = new Plot({ title: "Events per second", kind: "bars", words: (value) => `${rate(value)} /s` });
    this._replay = new Replay((time) => this._showUntil(time));
    this._replay.setRange(Date.parse(task.created_at), Date.parse(task.finished_at ?? "") || this._app.now());
    this._panel = h("div.tab-panel", { role: "tabpanel", id: "panel", tabindex: "0" });
    this._tabs = h("div.tabs", { role: "tablist", "aria-label": "what to see of the task", onkeydown: (event) => this._tabKey(event) }, TABS.map(([name, words]) => this._tabLink(name, words)));
    put(this.element, this._head(), this._timeline.element, h("div.plots", {}, h("div.card", {}, this._progress.element), h("div.card", {}, this._rate.element)), this._replay.element, h("div.task-columns", {}, h("div.card.tabbed", {}, this._tabs, this._panel), (this._facts = h("aside.card.facts", { "aria-label": "facts" }))));
    this._drawn = null;
    this._redraw();
    this._showTab();
  }

  _head() {
    this._status = h("span.badge");
    this._bar = h("i");
    this._meter = h("span.meter.large", { role: "progressbar", "aria-label": "progress", "aria-valuemin": "0", "aria-valuemax": "100" }, this._bar);
    this._percent = h("b.percent");
    this._message = h("p.message");
    this._left = h("span.muted");
    this._buttons = h("div.buttons");
    this._error = h("div.error-box", { hidden: true });
    this._receipt = h("div.receipt", { hidden: true });
    const id = this._task.id;
    return h("header.card.task-head", {},
      h("div.title-row", {}, h("h1", {}, this._task.type), this._status, h("button.ghost.id", { type: "button", title: "copy the id", onclick: () => copy(id) }, h("code", {}, id)), h("div.spacer"), this._buttons),
      h("div.progress-line", {}, this._meter, this._percent, this._left), this._message, this._error, this._receipt);
  }

  _tabLink(name, words) {
    return h("a.tab", { role: "tab", id: `tab-${name}`, "aria-controls": "panel", href: writePlace({ view: "task", task: this._id, tab: name }), "data-tab": name, "data-replace": true }, words);
  }

  _tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...this._tabs.children];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    next.click();
  }

  _redraw() {
    const task = this._task;
    if (!task || !this._panel) return;
    const now = this._app.now();
    const shown = this._past ?? task;
    showStatus(this._status, shown);
    showProgress(this._meter, this._bar, this._percent, shown);
    say(this._message, shown.progress?.message ?? shown.steps?.current ?? "");
    say(this._left, this._past ? "" : [leftWords(task, now) && `${leftWords(task, now)} left`, task.status === "running" && `running for ${duration((now - Date.parse(task.started_at)) / 1000)}`].filter(Boolean).join(" · "));
    if (!TERMINAL.has(task.status)) {
      this._timeline.show(task, this._changes ?? [], now);
      this._replay.setRange(Date.parse(task.created_at), now);
    }
    this._error.hidden = !task.error || Boolean(this._past) || task.status === "cancelled"; // the receipt says it
    this._receipt.hidden = !task.cancel || Boolean(this._past);
    const state = JSON.stringify([task.status, task.cancel, task.error, task.acked_at, task.timeout_s, task.attempt, task.last_seq]);
    if (state !== this._drawn) this._redrawRest(task, state);
  }

  /** What changes seldom. */
  _redrawRest(task, state) {
    this._drawn = state;
    put(this._buttons, actionsOf(this._app, task));
    if (task.error) put(this._error, h("b", {}, task.error.code), h("p", {}, task.error.message));
    if (task.cancel) put(this._receipt, receiptOf(task.cancel));
    put(this._facts, h("h2", {}, "Facts"), factsOf(task, this._app.now()));
  }

  _showTab() {
    for (const tab of this._tabs?.children ?? []) {
      mark(tab, "aria-selected", String(tab.dataset.tab === this._tab));
      mark(tab, "tabindex", tab.dataset.tab === this._tab ? "0" : "-1");
    }
    if (!this._panel) return;
    mark(this._panel, "aria-labelledby", `tab-${this._tab}`);
    const task = this._task;
    const shows = {
      events: () => this._events.element,
      lines: () => this._lines.element,
      result: () => (task.result === null ? nothing("No result", TERMINAL.has(task.status) ? "This task returned nothing." : "A result comes with the end of the task.") : jsonView(task.result, `result-${task.id}`)),
      params: () => jsonView(task.params, `params-${task.id}`),
      family: () => this._family(),
      history: () => this._historyTable(),
      why: () => this._why(),
    };
    put(this._panel, shows[this._tab]());
    if (this._tab === "lines") this._lines.loadAll();
    this._events.draw();
    this._lines.draw();
  }

  _family() {
    const box = h("div.family", {}, h("p.muted", {}, "…"));
    const { parent, retry_of } = this._task;
    const up = [parent && h("p", {}, "Started by ", taskLink(parent)), retry_of && h("p", {}, "Repeats ", taskLink(retry_of))];
    Promise.all([this._app.api.get("/tasks", [["parent", this._id], ["sort", "created_at"], ["limit", 200]]), this._app.api.get("/tasks", [["retry_of", this._id], ["limit", 50]])]).then(
      ([children, again]) => put(box, up, h("h2", {}, `Children (${children.tasks.length}${children.next_cursor ? "+" : ""})`), familyList(children.tasks), again.tasks.length ? [h("h2", {}, "Repeated by"), familyList(again.tasks)] : null),
      (problem) => put(box, nothing("The family cannot be shown", problem.detail ?? problem.message)),
    );
    return box;
  }

  _historyTable() {
    const rows = (this._changes ?? []).map((change) => h("tr", {}, h("td", {}, change.seq), h("td", {}, h(`span.badge.status-${change.to}`, {}, statusWords(change.to))), h("td", {}, moment(change.time)), h("td", {}, change.lasted_s === null ? "" : duration(change.lasted_s)), h("td", {}, change.by), h("td", {}, change.reason)));
    return h("div.scroll", { tabindex: "0" }, h("table.plain", {}, h("thead", {}, h("tr", {}, ["Event", "Status", "When", "Lasted", "By", "Reason"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)));
  }

  _why() {
    const box = h("div.why", {}, h("p.muted", {}, "…"));
    this._app.api.get(`/tasks/${this._id}/why`).then(
      (why) => put(box, whyView(why, () => this._showTab())),
      (problem) => put(box, nothing("Nobody can tell", problem.detail ?? problem.message)),
    );
    return box;
  }

  /** When it may end is no event: it is asked for anew. */
  _tick() {
    this._ticks = (this._ticks ?? 0) + 1;
    if (this._ticks % ETA_S === 0 && this._task?.status === "running") this._refetch();
    this._draw();
  }

  // -- what is asked for -----------------------------------------------------------------------------------------

  async _page(after, limit) {
    const { events } = await this._app.api.get(`/tasks/${this._id}/events`, [["last_event_id", after], ["limit", limit]]);
    return events;
  }

  async _fetch() {
    const id = this._id;
    if (!this._task) return;
    try {
      const task = await this._app.api.get(`/tasks/${id}`);
      if (id !== this._id) return;
      if (task.last_seq >= this._task.last_seq) Object.assign(this._task, task);
      this._log.grow(task.last_seq);
      await this._history();
      if (TERMINAL.has(task.status)) this._over();
    } catch (problem) {
      if (problem.status && problem.status !== 503) tellProblem(problem);
    }
    this._draw();
  }

  async _history() {
    try {
      this._changes = (await this._app.api.get(`/tasks/${this._id}/history`)).changes;
    } catch (problem) {
      if (problem.status) return tellProblem(problem);
    }
    this._timeline.show(this._task, this._changes ?? [], this._app.now());
    if (this._tab === "history") this._showTab();
  }

  /** Look at the log in some places, and draw what they say. */
  async _plot() {
    const [log, task] = [this._log, this._task];
    try {
      const seen = new Set();
      for (const seq of places(log.last)) {
        const event = await log.at(seq);
        if (log !== this._log) return;
        if (event) seen.add(event);
      }
      const events = [...seen].sort((one, other) => one.seq - other.seq);
      const [from, to] = [Date.parse(task.created_at), Date.parse(task.finished_at ?? "") || this._app.now()];
      this._progress.show([...progressPoints([...this._known(events)])], from, to);
      this._rate.show(ratePoints(events, from, to, Math.min(60, Math.max(12, Math.round(log.last / 4)))), from, to);
    } catch (problem) {
      if (problem.status) tellProblem(problem);
    }
  }

  /** All events that are here anyway: they have more progress than the places. */
  *_known(events) {
    if (this._log.last > 3000) return void (yield* events);
    for (let seq = 1; seq <= this._log.last; seq += 1) {
      const event = this._log.get(seq);
      if (event) yield event;
    }
  }

  // -- what the stream tells -------------------------------------------------------------------------------------

  _heard(event) {
    if (!this._log || event.task_id !== this._id) return;
    if (event.type !== "gap") this._log.add(event);
    if (event.seq > this._task.last_seq) Object.assign(this._task, changesOf(event, this._task));
    if (isDoubtful(event)) this._refetch();
    if (TERMINAL.has(event.type)) this._over();
    this._replot();
    if (this._until === undefined) {
      this._events.grew();
      this._lines.grew();
    }
    this._draw();
  }

  _over() {
    this._app.watch(null);
    this._replay.setRange(Date.parse(this._task.created_at), Date.parse(this._task.finished_at));
    this._timeline.show(this._task, this._changes ?? [], this._app.now());
    if (this._tab === "result") this._showTab();
    this._replot();
  }

  // -- the past --------------------------------------------------------------------------------------------------

  async _showUntil(time) {
    this._moment = time;
    this._timeline.moveTo(time ?? NaN);
    this._progress.moveTo(time ?? NaN);
    this._rate.moveTo(time ?? NaN);
    if (time === null) return this._showPast(undefined, null);
    if (this._looking) return;
    this._looking = true;
    try {
      while (this._looked !== this._moment && this._moment !== null) {
        this._looked = this._moment;
        const last = await this._log.lastUntil(this._looked);
        if (this._moment !== null) this._showPast(last, await this._stateAt(last));
      }
    } catch (problem) {
      tellProblem(problem);
    } finally {
      this._looking = false;
    }
  }

  /** What the record was after an event: its status by the history, its progress by the events before. */
  async _stateAt(last) {
    const change = (this._changes ?? []).filter(({ seq }) => seq <= last).at(-1);
    const past = { status: change?.to ?? "pending", progress: null, cancel: null, error: null };
    for (let seq = last; seq > Math.max(0, last - 500); seq -= 1) {
      const event = await this._log.at(seq);
      if (event?.type !== "progress") continue;
      past.progress = { percent: event.data.percent, message: event.data.message };
      break;
    }
    return past;
  }

  _showPast(last, past) {
    this._until = last;
    this._past = past;
    this._events.limit(last);
    this._lines.limit(last);
    this._draw();
  }
}

/** What became of a cancel. */
function receiptOf(cancel) {
  const words = { requested: "The cancel is on its way", stopped: "The cancel has stopped it", completed: "It ended by itself before the cancel arrived", ignored: "The handler goes on in spite of the cancel" };
  const after = (time) => (time ? `after ${duration((Date.parse(time) - Date.parse(cancel.requested_at)) / 1000)}` : "not yet");
  return [h("b", {}, words[cancel.outcome] ?? cancel.outcome), h("dl.inline", {}, pair("asked by", cancel.by), cancel.reason && pair("reason", cancel.reason), pair("delivered", after(cancel.delivered_at)), pair("stopped", after(cancel.stopped_at)), cancel.where && pair("it stands at", h("code", {}, cancel.where)))];
}

function factsOf(task, now) {
  const times = [["created", task.created_at], ["started", task.started_at], ["heard of", task.heartbeat_at], ["finished", task.finished_at], ["acknowledged", task.acked_at]];
  return h("dl", {},
    pair("who", task.tenant ? `${task.created_by} (${task.tenant})` : task.created_by),
    pair("age", duration(lifetime(task, now))),
    pair("attempt", `${task.attempt}${task.retries_left ? `, ${task.retries_left} more possible` : ""}`),
    pair("priority", task.priority), task.key && pair("key", task.key), task.external_id && pair("external id", task.external_id),
    task.tags.length ? pair("tags", task.tags.map((tag) => h("a.chip", { href: writePlace({ view: "tasks", filters: [["tag", tag]] }) }, tag))) : null,
    task.parent && pair("parent", taskLink(task.parent)), task.retry_of && pair("repeats", taskLink(task.retry_of)),
    pair("events", count(task.last_seq)),
    [["timeout_s", "a run may take"], ["queue_timeout_s", "may wait"], ["heartbeat_timeout_s", "may be silent"], ["total_timeout_s", "in all"]].filter(([name]) => task[name]).map(([name, words]) => pair(words, duration(task[name]))),
    task.steps && pair("steps", `${task.steps.completed} of ${task.steps.total}`),
    times.filter(([, time]) => time).map(([words, time]) => pair(words, h("time", { datetime: time, title: moment(time) }, ago(time, now)))));
}

const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function familyList(tasks) {
  if (!tasks.length) return h("p.muted", {}, "none");
  return h("ul.family-list", {}, tasks.map((task) => h("li", {}, h(`span.badge.status-${task.status}`, {}, statusWords(task.status)), taskLink(task.id, [h("b", {}, task.type), " ", h("code.muted", {}, task.id.slice(-8))]), task.progress && h("span.muted", {}, `${Math.floor(task.progress.percent)} %`))));
}
