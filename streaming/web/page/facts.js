/**
 * What a record says of a task, as words: its facts, the receipt of its cancel, its relatives, its statuses so far.
 *
 * Owns:   how these look, and the words that change with time.
 * Never:  asks the server.
 */

import { taskLink } from "./actions.js";
import { writePlace } from "./address.js";
import { h, put, say } from "./dom.js";
import { ago, count, duration, lifetime, moment, statusWords } from "./format.js";

const LIMITS = [
  ["timeout_s", "a run may take"],
  ["queue_timeout_s", "may wait"],
  ["heartbeat_timeout_s", "may be silent"],
  ["total_timeout_s", "in all"],
];

const TIMES = [
  ["created_at", "created"],
  ["started_at", "started"],
  ["heartbeat_at", "heard of"],
  ["finished_at", "finished"],
  ["acked_at", "acknowledged"],
];

const OUTCOMES = {
  requested: "The cancel is on its way",
  stopped: "The cancel has stopped it",
  completed: "It ended by itself before the cancel arrived",
  ignored: "The handler goes on in spite of the cancel",
};

const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** The facts of one task; what changes with every second changes alone, so that the rest can be marked and pressed. */
export class Facts {
  constructor() {
    this._list = h("dl");
    this.element = h("aside.card.facts", { "aria-label": "facts" }, h("h2", {}, "Facts"), this._list);
  }

  /** @param {any} task @param {number} now */
  show(task, now) {
    const there = TIMES.map(([name]) => Boolean(task[name]));
    const changed = JSON.stringify([task.attempt, task.retries_left, task.steps, there, LIMITS.map(([name]) => task[name])]);
    if (changed !== this._changed) {
      this._changed = changed;
      this._live = [];
      put(this._list, this._pairs(task));
    }
    for (const [element, words] of this._live) say(element, words(task, now));
  }

  /** Words that are not the same for long. */
  _alive(element, words) {
    this._live.push([element, words]);
    return element;
  }

  _pairs(task) {
    const tag = (words) => h("a.chip", { href: writePlace({ view: "tasks", filters: [["tag", words]] }) }, words);
    return [
      pair("who", task.tenant ? `${task.created_by} (${task.tenant})` : task.created_by),
      pair("age", this._alive(h("span"), (each, now) => duration(lifetime(each, now)))),
      pair("attempt", `${task.attempt}${task.retries_left ? `, ${task.retries_left} more possible` : ""}`),
      pair("priority", task.priority),
      task.key && pair("key", task.key),
      task.external_id && pair("external id", task.external_id),
      task.tags.length > 0 && pair("tags", task.tags.map(tag)),
      task.parent && pair("parent", taskLink(task.parent)),
      task.retry_of && pair("repeats", taskLink(task.retry_of)),
      pair("events", this._alive(h("span"), (each) => count(each.last_seq))),
      LIMITS.filter(([name]) => task[name]).map(([name, words]) => pair(words, duration(task[name]))),
      task.steps && pair("steps", `${task.steps.completed} of ${task.steps.total}`),
      TIMES.filter(([name]) => task[name]).map(([name, words]) => pair(words, this._time(task, name))),
    ];
  }

  _time(task, name) {
    const time = h("time", { datetime: task[name], title: moment(task[name]) });
    return this._alive(time, (each, now) => ago(each[name], now));
  }
}

/** What became of a cancel. */
export function receiptOf(cancel) {
  const after = (time) => (time ? `after ${duration((Date.parse(time) - Date.parse(cancel.requested_at)) / 1000)}` : "not yet");
  return [
    h("b", {}, OUTCOMES[cancel.outcome] ?? cancel.outcome),
    h("dl.inline", {},
      pair("asked by", cancel.by),
      cancel.reason && pair("reason", cancel.reason),
      pair("delivered", after(cancel.delivered_at)),
      pair("stopped", after(cancel.stopped_at)),
      cancel.where && pair("it stands at", h("code", {}, cancel.where))),
  ];
}

/** Tasks as a list of links. */
export function familyList(tasks) {
  if (!tasks.length) return h("p.muted", {}, "none");
  return h("ul.family-list", {}, tasks.map((task) => h("li", {},
    h(`span.badge.status-${task.status}`, {}, statusWords(task.status)),
    taskLink(task.id, [h("b", {}, task.type), " ", h("code.muted", {}, task.id.slice(-8))]),
    task.progress && h("span.muted", {}, `${Math.floor(task.progress.percent)} %`))));
}

/** Every status that a task has had. @param {Array<any>} changes of `GET /tasks/{id}/history` */
export function historyTable(changes) {
  const cell = (words) => h("td", {}, words);
  const rows = changes.map((change) => h("tr", {},
    cell(change.seq),
    cell(h(`span.badge.status-${change.to}`, {}, statusWords(change.to))),
    cell(moment(change.time)),
    cell(change.lasted_s === null ? "" : duration(change.lasted_s)),
    cell(change.by),
    cell(change.reason)));
  const heads = ["Event", "Status", "When", "Lasted", "By", "Reason"].map((name) => h("th", { scope: "col" }, name));
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": "history" },
    h("table.plain", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}
