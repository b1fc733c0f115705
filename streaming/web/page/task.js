/**
 * One task: what it does now, all that it has done, and what can be done with it.
 *
 * Rules of this file:
 *
 * - An answer that comes after one has gone to another task is thrown away: every `await` is followed by the question
 *   whether it is still this visit.
 * - The log is watched from the record on, before anything else is asked for: nothing falls between them.
 * - What comes many times in a second is drawn once per frame, and what can be pressed is not made anew for it.
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
import { Facts, familyList, historyTable, receiptOf } from "./facts.js";
import { TERMINAL, duration, rate } from "./format.js";
import { copy, jsonView } from "./json_tree.js";
import { leftWords, showProgress, showStatus } from "./list.js";
import { Plot } from "./plots.js";
import { Replay } from "./replay.js";
import { changesOf, isDoubtful } from "./rows.js";
import { Samples, isHeld, places, progressPoints, ratePoints } from "./series.js";
import { Timeline } from "./timeline.js";
import { whyView } from "./why.js";

/** Seconds after which it is asked anew when the task may end. */
const ETA_S = 10;

/** A log that is no longer is looked at whole for its plots, all others in some places. */
const WHOLE = 5000;

/** Events that are looked at in one place: there may be a report of progress among them. */
const IN_PLACE = 10;

/** Events before a moment among which its progress is looked for. */
const PROGRESS_WITHIN = 500;

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
    this._visit = 0;
    this.element = h("section.task-view", { "aria-label": "task" });
    this._draw = perFrame(() => this._redraw());
    this._refetch = spaced(() => this._fetch(), 1000);
    this._replot = spaced(() => this._plot(), 1000);
    app.onTick(this, () => this._tick());
    app.onOpen(this, () => this._again());
    app.onLog(this, (event) => this._heard(event));
  }

  close() {
    this._app.forget(this);
    this._leave();
  }

  /** @param {import("./address.js").Place} place */
  show(place) {
    this._tab = TABS.some(([name]) => name === place.tab) ? place.tab : "events";
    if (place.task === this._id) return void this._showTab();
    this._id = place.task;
    void this._open();
  }

  /** Whatever is under way for the task that was looked at concerns nobody any more. */
  _leave() {
    this._visit += 1;
    this._app.watch(null);
    for (const timer of [this._refetch, this._replot, this._draw]) timer.stop();
    for (const part of [this._replay, this._events, this._lines]) part?.close();
    this._task = this._panel = this._past = this._until = null;
    this._section = undefined; // nobody knows yet whether one held a cancel back
    this._changes = [];
    this._gone = false;
  }

  async _open() {
    this._leave();
    const visit = this._visit;
    put(this.element, h("p.muted.loading", { role: "status" }, "Looking it up …"));
    try {
      const task = await this._app.api.get(`/tasks/${this._id}`);
      if (visit !== this._visit) return;
      this._task = task;
    } catch (problem) {
      if (visit === this._visit) this._cannot(problem);
      return;
    }
    if (!TERMINAL.has(this._task.status)) this._app.watch(this._id, this._task.last_seq);
    this._build();
    await Promise.all([this._history(), this._sample(), this._findSection()]);
  }

  _cannot(problem) {
    const title = problem.status === 404 ? "This task is not there" : "This task cannot be shown";
    put(this.element, nothing(title, problem.detail ?? problem.message,
      h("a.button", { href: writePlace({ view: "tasks" }) }, "All tasks"),
      h("button", { type: "button", onclick: () => this._open() }, "Try again")));
  }

  /** The connection is there (again). */
  _again() {
    if (this._task) void this._fetch();
    else if (this._id && !this.element.querySelector(".loading")) void this._open();
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  _build() {
    const task = this._task;
    this._log = new EventLog((after, limit) => this._page(after, limit));
    this._log.grow(task.last_seq);
    this._events = new EventTable(this._log);
    this._lines = new EventTable(this._log, "log");
    this._log.onNews = () => this._draw();
    this._samples = new Samples();
    this._reports = new Samples();
    this._timeline = new Timeline();
    this._progress = new Plot({ title: "Progress", most: 100, words: (value) => `${Math.round(value)} %` });
    this._rate = new Plot({ title: "Events per second", kind: "bars", words: (value) => `${rate(value)} /s` });
    this._facts = new Facts();
    this._looked = undefined;
    this._replay = new Replay((time) => void this._showUntil(time));
    this._replay.setRange(Date.parse(task.created_at), Date.parse(task.finished_at ?? "") || this._app.now());
    this._panel = h("div.tab-panel", { role: "tabpanel", id: "panel", tabindex: "0" });
    this._tabs = h("div.tabs", { role: "tablist", "aria-label": "what to see of the task", onkeydown: (event) => this._tabKey(event) },
      TABS.map(([name, words]) => this._tabLink(name, words)));
    const plots = h("div.plots", {}, h("div.card", {}, this._progress.element), h("div.card", {}, this._rate.element));
    put(this.element, this._head(), this._timeline.element, plots, this._replay.element,
      h("div.task-columns", {}, h("div.card.tabbed", {}, this._tabs, this._panel), this._facts.element));
    this._drawn = null;
    this._redraw();
    this._showTimes();
    this._showTab();
  }

  _head() {
    this._status = h("span.badge");
    this._bar = h("i");
    this._meter = h("span.meter.large",
      { role: "progressbar", "aria-label": "progress", "aria-valuemin": "0", "aria-valuemax": "100" }, this._bar);
    this._percent = h("b.percent");
    this._message = h("p.message", { dir: "auto" });
    this._left = h("span.muted");
    this._buttons = h("div.buttons");
    this._notice = h("p.notice", { role: "status", hidden: true });
    this._error = h("div.error-box", { hidden: true });
    this._receipt = h("div.receipt", { hidden: true });
    const id = this._task.id;
    const name = h("button.ghost.id", { type: "button", title: "copy the id", onclick: () => copy(id) }, h("code", {}, id));
    return h("header.card.task-head", {},
      h("div.title-row", {}, h("h1", {}, this._task.type), this._status, name, h("div.spacer"), this._buttons),
      h("div.progress-line", {}, this._meter, this._percent, this._left),
      this._message, this._notice, this._error, this._receipt);
  }

  _tabLink(name, words) {
    const href = writePlace({ view: "task", task: this._id, tab: name });
    return h("a.tab", { role: "tab", id: `tab-${name}`, "aria-controls": "panel", href, "data-tab": name, "data-replace": true }, words);
  }

  _tabKey(event) {
    const all = [...this._tabs.children];
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    next.focus();
    next.click();
  }

  _redraw() {
    const task = this._task;
    if (!this._panel) return;
    const now = this._app.now();
    const shown = this._past ?? task;
    showStatus(this._status, shown);
    showProgress(this._meter, this._bar, this._percent, shown);
    say(this._message, shown.progress?.message ?? shown.steps?.current ?? "");
    say(this._left, this._past ? "" : leftOf(task, now));
    this._events.grew();
    this._lines.grew();
    this._facts.show(task, now);
    this._error.hidden = !task.error || Boolean(this._past) || task.status === "cancelled"; // the receipt says it
    this._receipt.hidden = !task.cancel || Boolean(this._past);
    const state = JSON.stringify([task.status, task.cancel, task.error, task.acked_at, task.timeout_s, this._gone]);
    if (state === this._drawn) return;
    this._drawn = state;
    put(this._buttons, this._gone ? [] : actionsOf(this._app, task));
    if (task.error) put(this._error, h("b", {}, task.error.code), h("p", { dir: "auto" }, task.error.message));
    if (task.cancel) put(this._receipt, receiptOf(task.cancel));
  }

  /** What time alone changes. */
  _showTimes() {
    const task = this._task;
    const now = this._app.now();
    this._timeline.show(task, this._changes, now, this._section);
    this._replay.setRange(Date.parse(task.created_at), Date.parse(task.finished_at ?? "") || now);
  }

  _showTab() {
    if (!this._panel) return;
    for (const tab of this._tabs.children) {
      mark(tab, "aria-selected", String(tab.dataset.tab === this._tab));
      mark(tab, "tabindex", tab.dataset.tab === this._tab ? "0" : "-1");
    }
    mark(this._panel, "aria-labelledby", `tab-${this._tab}`);
    const { id, params } = this._task;
    const shows = {
      events: () => this._events.element,
      lines: () => this._lines.element,
      result: () => this._result(),
      params: () => jsonView(params, `params-${id}`),
      family: () => this._family(),
      history: () => historyTable(this._changes),
      why: () => this._why(),
    };
    put(this._panel, shows[this._tab]());
    if (this._tab === "lines") void this._lines.loadAll();
    this._events.draw();
    this._lines.draw();
  }

  _result() {
    const { id, result, status } = this._task;
    if (result !== null && result !== undefined) return jsonView(result, `result-${id}`);
    return nothing("No result", TERMINAL.has(status) ? "This task returned nothing." : "A result comes with the end of the task.");
  }

  _family() {
    const box = h("div.family", {}, h("p.muted", {}, "Looking it up …"));
    const { parent, retry_of } = this._task;
    const up = [parent && h("p", {}, "Started by ", taskLink(parent)), retry_of && h("p", {}, "Repeats ", taskLink(retry_of))];
    const asked = [
      this._app.api.get("/tasks", [["parent", this._id], ["sort", "created_at"], ["limit", 200]]),
      this._app.api.get("/tasks", [["retry_of", this._id], ["limit", 50]]),
    ];
    Promise.all(asked).then(
      ([children, again]) => put(box, up,
        h("h2", {}, `Children (${children.tasks.length}${children.next_cursor ? "+" : ""})`), familyList(children.tasks),
        again.tasks.length ? [h("h2", {}, "Repeated by"), familyList(again.tasks)] : null),
      (problem) => put(box, nothing("The family cannot be shown", problem.detail ?? problem.message)),
    );
    return box;
  }

  _why() {
    const box = h("div.why", {}, h("p.muted", {}, "Looking it up …"));
    const ask = async () => {
      try {
        const why = await this._app.api.get(`/tasks/${this._id}/why`);
        const focused = box.contains(document.activeElement);
        put(box, whyView(why, ask));
        if (focused) box.querySelector("button")?.focus();
      } catch (problem) {
        put(box, nothing("Nobody can tell", problem.detail ?? problem.message));
      }
    };
    void ask();
    return box;
  }

  _tick() {
    if (!this._panel) return;
    this._ticks = (this._ticks ?? 0) + 1;
    const { status } = this._task;
    if (this._ticks % ETA_S === 0 && status === "running") this._refetch(); // when it may end is no event
    if (!TERMINAL.has(status)) {
      this._showTimes();
      if (this._tab === "lines") void this._lines.loadAll();
    }
    this._draw();
  }

  // -- what is asked for -----------------------------------------------------------------------------------------

  async _page(after, limit) {
    const visit = this._visit;
    if (this._gone) return [];
    try {
      const { events } = await this._app.api.get(`/tasks/${this._id}/events`, [["last_event_id", after], ["limit", limit]]);
      return events;
    } catch (problem) {
      if (problem.status === 404 && visit === this._visit) this._isGone();
      throw problem;
    }
  }

  async _fetch() {
    const visit = this._visit;
    if (!this._task || this._gone) return;
    try {
      const task = await this._app.api.get(`/tasks/${this._id}`);
      if (visit !== this._visit) return;
      const wasOver = TERMINAL.has(this._task.status);
      if (task.last_seq >= this._task.last_seq) Object.assign(this._task, task);
      this._log.grow(task.last_seq);
      await Promise.all([this._history(), this._findSection()]);
      if (visit === this._visit && !wasOver && TERMINAL.has(task.status)) this._over();
    } catch (problem) {
      if (visit !== this._visit) return;
      if (problem.status === 404) this._isGone();
      else if (problem.status && !problem.temporary) tellProblem(problem);
    }
    this._draw();
  }

  /** Somebody has deleted it while it was looked at. */
  _isGone() {
    this._gone = true;
    this._app.watch(null);
    this._notice.hidden = false;
    say(this._notice, "This task was deleted. What is still to be seen here was asked for before.");
    this._draw();
  }

  async _history() {
    const visit = this._visit;
    try {
      const { changes } = await this._app.api.get(`/tasks/${this._id}/history`);
      if (visit !== this._visit) return;
      this._changes = changes;
    } catch (problem) {
      if (visit === this._visit && problem.status && problem.status !== 404 && !problem.temporary) tellProblem(problem);
      return;
    }
    this._showTimes();
    if (this._tab === "history") this._showTab();
  }

  /** Look at the log in some places, for the plots; what comes later is put to them as it comes. */
  async _sample() {
    const [visit, { last }] = [this._visit, this._log];
    try {
      for (const seq of places(last, last <= WHOLE ? WHOLE : undefined)) {
        const known = last <= WHOLE ? [await this._log.at(seq)] : await this._page(seq - 1, IN_PLACE);
        if (visit !== this._visit) return;
        for (const event of known) if (event) this._take(event);
      }
    } catch (problem) {
      if (visit === this._visit && problem.status && problem.status !== 404 && !problem.temporary) tellProblem(problem);
      if (visit !== this._visit) return;
    }
    this._plot();
  }

  _take(event) {
    if (event.type === "gap") return; // its time is not that of what is gone
    this._samples.add(event);
    if (event.type === "progress") this._reports.add(event);
  }

  _plot() {
    if (!this._panel) return;
    const [from, to] = [Date.parse(this._task.created_at), Date.parse(this._task.finished_at ?? "") || this._app.now()];
    const bars = Math.min(60, Math.max(12, Math.round(this._log.last / 4)));
    this._progress.show(progressPoints(this._reports.list()), from, to);
    this._rate.show(ratePoints(this._samples.list(), from, to, bars), from, to);
  }

  /** In which protected section the handler was when its cancel was asked for: the event says so. */
  async _findSection() {
    const [visit, task, log] = [this._visit, this._task, this._log];
    if (!isHeld(task) || this._section !== undefined) return;
    try {
      const last = await log.lastUntil(Date.parse(task.cancel.requested_at));
      for (let seq = Math.min(log.last, last + 2); seq > Math.max(0, last - 10); seq -= 1) {
        const event = await log.at(seq);
        if (visit !== this._visit) return;
        if (event?.type === "cancel_requested") this._section = event.data.held_by ?? null;
      }
      this._showTimes();
    } catch (problem) {
      if (visit === this._visit && problem.status && problem.status !== 404 && !problem.temporary) tellProblem(problem);
    }
  }

  // -- what the stream tells -------------------------------------------------------------------------------------

  _heard(event) {
    if (!this._panel || event.task_id !== this._id) return;
    this._log.add(event);
    this._take(event);
    if (event.type === "cancel_requested") this._section = event.data.held_by ?? null;
    if (event.seq > this._task.last_seq) Object.assign(this._task, changesOf(event, this._task));
    if (isDoubtful(event)) this._refetch();
    if (TERMINAL.has(event.type)) this._over();
    this._replot();
    this._draw();
  }

  _over() {
    this._app.watch(null);
    this._showTimes();
    if (this._tab === "result") this._showTab();
    if (this._tab === "lines") void this._lines.loadAll();
    this._replot();
  }

  // -- the past --------------------------------------------------------------------------------------------------

  async _showUntil(time) {
    const visit = this._visit;
    this._moment = time;
    for (const part of [this._timeline, this._progress, this._rate]) part.moveTo(time ?? NaN);
    if (time === null) {
      this._looked = undefined;
      return void this._showPast(undefined, null);
    }
    if (this._looking === visit) return;
    this._looking = visit;
    try {
      while (visit === this._visit && this._looked !== this._moment && this._moment !== null) {
        this._looked = this._moment;
        const last = Math.max(1, await this._log.lastUntil(this._looked)); // a task begins with its first event
        const past = await this._stateAt(last);
        if (visit === this._visit && this._moment !== null) this._showPast(last, past);
      }
    } catch (problem) {
      if (visit === this._visit) tellProblem(problem);
    } finally {
      if (this._looking === visit) this._looking = null;
    }
  }

  /** What the record was after an event: its status by the history, its progress by the events before. */
  async _stateAt(last) {
    const [visit, changes] = [this._visit, this._changes];
    const past = { status: changes.filter(({ seq }) => seq <= last).at(-1)?.to ?? "pending", progress: null, cancel: null, error: null };
    for (let seq = last; seq > Math.max(0, last - PROGRESS_WITHIN) && visit === this._visit; seq -= 1) {
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

/** How long it may take yet, and how long it runs. */
function leftOf(task, now) {
  const left = leftWords(task, now);
  const words = [/\d/.test(left) && task.status === "running" ? `${left} left` : left];
  if (task.status === "running") words.push(`running for ${duration((now - Date.parse(task.started_at)) / 1000)}`);
  return words.filter(Boolean).join(" · ");
}
