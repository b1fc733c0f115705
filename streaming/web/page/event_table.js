/**
 * The events of a log as a list that stays at its end, as long as the reader is there.
 *
 * Owns:   which events are shown: all, or those of one type; up to which.
 * Uses:   events.js (the log), virtual.js (the list).
 */

import { h, mark, put, say } from "./dom.js";
import { PAGE } from "./events.js";
import { clock, count, gist } from "./format.js";
import { jsonView } from "./json_tree.js";
import { VirtualList } from "./virtual.js";

/** Events of a log that are looked at for those of one type, the newest. */
const LOOKED_AT = 20_000;

export class EventTable {
  /** @param {import("./events.js").EventLog} log @param {string} [type] only events of this one. */
  constructor(log, type = "") {
    this._log = log;
    this._type = type;
    this._numbers = [];
    this._looked = 0;
    this._list = new VirtualList({ rowHeight: 28, create: () => this._row(), update: (row, index) => this._fill(row, index), label: type ? "log lines" : "events", follow: true });
    this._list.onRange = (first, last) => type || log.want(first + 1, last + 1);
    this._list.onFollow = (following) => (this._end.hidden = following);
    this._end = h("button.news.to-end", { type: "button", hidden: true, onclick: () => this._list.toEnd() }, "To the end ↓");
    this._detail = h("div.event-detail", { hidden: true });
    this._words = h("span.muted");
    this._jump = h("input", { type: "number", min: 1, "aria-label": "go to event", placeholder: "go to …", onchange: () => this._goTo(Number(this._jump.value)) });
    const tools = h("div.event-tools", {}, this._words, h("div.spacer"), type ? null : this._jump);
    this.element = h("div.events", {}, tools, h("div.events-box", {}, this._list.element, this._end), this._detail);
    this.grew();
  }

  close() {
    this._list.close();
  }

  draw() {
    this._list.draw();
  }

  /** Show no event behind this one; undefined shows all. */
  limit(last) {
    this._limit = last;
    if (last !== undefined) this._list.following = true;
    this.grew();
  }

  /** There are more events, or fewer are to be shown. */
  grew() {
    const last = this._limit ?? this._log.last;
    if (this._type) this._look();
    const shown = this._type ? upTo(this._numbers, last) : last;
    this._list.setCount(shown);
    say(this._words, this._type ? `${count(shown)} log lines${this._looked > 1 ? ` (of the last ${count(this._log.last - this._looked + 1)} events)` : ""}` : `${count(shown)}${this._limit === undefined ? "" : ` of ${count(this._log.last)}`} events`);
  }

  /** Look through the log for events of the type, from its end. */
  async loadAll() {
    const first = Math.max(1, this._log.last - LOOKED_AT + 1);
    if (this._busy || this._looked === first) return;
    this._busy = true;
    try {
      for (let seq = first; seq <= this._log.last; seq += PAGE) {
        await this._log.at(seq);
        this._looked = first;
        this._numbers = [];
        this._from = first;
        this.grew();
      }
    } catch (problem) {
      say(this._words, problem.detail ?? problem.message);
    } finally {
      this._busy = false;
    }
  }

  /** Take what has come since the last look. */
  _look() {
    for (let seq = this._from ?? 1; seq <= this._log.last; seq += 1) {
      const event = this._log.get(seq);
      if (event?.type === this._type && event.seq === seq) this._numbers.push(seq);
    }
    this._from = this._log.last + 1;
  }

  _numberAt(index) {
    return this._type ? this._numbers[index] : index + 1;
  }

  _row() {
    const parts = { seq: h("span.seq"), time: h("time.time"), type: h("span.type"), text: h("span.text") };
    const button = h("button.event", { type: "button", onclick: () => this._open(row.seq) }, Object.values(parts));
    const row = h("div.event-row", { role: "listitem" }, button);
    Object.assign(row, { parts, button });
    return row;
  }

  _fill(row, index) {
    const seq = this._numberAt(index);
    const event = this._log.get(seq);
    if (row.seq === seq && row.event === event) return;
    Object.assign(row, { seq, event });
    const { parts } = row;
    say(parts.seq, seq);
    say(parts.time, event ? clock(event.time) : "");
    say(parts.type, event ? (event.type === "log" ? event.data.level : event.type) : "…");
    say(parts.text, event ? gist(event) : "");
    mark(row.button, "data-type", event?.type ?? "unknown");
    mark(row.button, "data-level", event?.type === "log" ? event.data.level : null);
  }

  _goTo(seq) {
    if (!(seq >= 1)) return;
    this._list.following = false;
    this._end.hidden = false;
    this._list.scrollTo(Math.min(seq, this._log.last) - 1);
  }

  async _open(seq) {
    const event = this._log.get(seq);
    if (!event) return;
    this._detail.hidden = false;
    const close = h("button.ghost", { type: "button", "aria-label": "close", onclick: () => (this._detail.hidden = true) }, "×");
    put(this._detail, h("div.title-row", {}, h("h2", {}, `Event ${seq}: ${event.type}`), h("div.spacer"), close), jsonView(event, `event-${event.task_id}-${seq}`));
    close.focus();
  }
}

/** How many of these ascending numbers are not above the last one. */
function upTo(numbers, last) {
  if (!numbers.length || numbers.at(-1) <= last) return numbers.length;
  return numbers.findIndex((number) => number > last);
}
