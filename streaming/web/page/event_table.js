/**
 * The events of a log as a list that stays at its end, as long as the reader is there.
 *
 * Owns:   which events are shown: all, or those of one type; up to which.
 * Uses:   events.js (the log), virtual.js (the list).
 * Never:  asks for more after it was closed.
 */

import { h, mark, put, say } from "./dom.js";
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
    this._list = new VirtualList({
      rowHeight: 28, create: () => this._row(), update: (row, index) => this._fill(row, index),
      keyOf: (index) => this._numberAt(index), label: type ? "log lines" : "events", follow: true,
    });
    this._list.onRange = (first, last) => type || log.want(first + 1, last + 1);
    this._list.onFollow = (following) => (this._end.hidden = following);
    this._end = h("button.news.to-end", { type: "button", hidden: true, onclick: () => this._list.toEnd() }, "To the end ↓");
    this._detail = h("div.event-detail", { hidden: true, onkeydown: (event) => event.key === "Escape" && this._close() });
    this._words = h("span.muted");
    this._jump = h("input", {
      type: "number", min: 1, "aria-label": "go to event", placeholder: "go to …", onchange: () => this._goTo(Number(this._jump.value)),
    });
    const tools = h("div.event-tools", {}, this._words, h("div.spacer"), type ? null : this._jump);
    this.element = h("div.events", {}, tools, h("div.events-box", {}, this._list.element, this._end), this._detail);
    this.grew();
  }

  close() {
    this._closed = true;
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
    if (this._from !== undefined) this._look();
    const shown = this._type ? upTo(this._numbers, last) : last;
    this._list.setCount(shown);
    say(this._words, this._type ? this._linesWords(shown) : this._eventsWords(shown));
  }

  _linesWords(shown) {
    const looked = this._first > 1 ? ` (of the last ${count(this._log.last - this._first + 1)} events)` : "";
    return this._problem ? `Not all can be shown: ${this._problem}` : `${count(shown)} ${shown === 1 ? "log line" : "log lines"}${looked}`;
  }

  _eventsWords(shown) {
    const all = this._limit === undefined ? "" : ` of ${count(this._log.last)}`;
    return `${count(shown)}${all} ${shown === 1 && !all ? "event" : "events"}`;
  }

  /** Look through the log for events of the type, the newest ones; go on where it could not go on before. */
  async loadAll() {
    if (this._from === undefined) {
      this._first = Math.max(1, this._log.last - LOOKED_AT + 1);
      this._from = this._first;
    }
    this.grew();
    if (this._busy) return;
    this._busy = true;
    try {
      this._problem = "";
      while (!this._closed && this._from <= this._log.last) {
        const missing = this._from;
        await this._log.at(missing);
        this.grew();
        if (this._from === missing) break; // the server does not have it (yet)
      }
    } catch (problem) {
      this._problem = problem.detail ?? problem.message;
      this.grew();
    } finally {
      this._busy = false;
    }
  }

  /** Take what has come since the last look, up to the first event that is not here yet. */
  _look() {
    for (; this._from <= this._log.last; this._from += 1) {
      const event = this._log.get(this._from);
      if (!event) return;
      if (event.type === this._type) this._numbers.push(this._from);
    }
  }

  _numberAt(index) {
    return this._type ? this._numbers[index] : index + 1;
  }

  _row() {
    const parts = { seq: h("span.seq"), time: h("time.time"), type: h("span.type"), text: h("span.text") };
    const button = h("button.event", { type: "button", tabindex: "-1", onclick: () => this._open(row) }, Object.values(parts));
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
    const last = this._limit ?? this._log.last;
    this._list.following = false;
    this._end.hidden = false;
    this._list.scrollTo(Math.min(Math.floor(seq), last) - 1);
  }

  _open({ seq, event }) {
    if (!event) return;
    this._opened = seq;
    this._detail.hidden = false;
    const close = h("button.ghost", { type: "button", "aria-label": "close", onclick: () => this._close() }, "×");
    const title = event.type === "gap" ? `Events ${event.data.from} to ${event.data.to} are gone` : `Event ${event.seq}: ${event.type}`;
    put(this._detail, h("div.title-row", {}, h("h2", {}, title), h("div.spacer"), close), jsonView(event, `event-${event.task_id}-${seq}`));
    close.focus();
  }

  /** Back to the event whose details were shown. */
  _close() {
    this._detail.hidden = true;
    const index = this._type ? this._numbers.indexOf(this._opened) : this._opened - 1;
    if (index >= 0 && index < this._list.count) this._list.focusOn(index);
    else this._list.element.focus();
  }
}

/** How many of these ascending numbers are not above the last one. */
function upTo(numbers, last) {
  if (!numbers.length || numbers.at(-1) <= last) return numbers.length;
  return numbers.findIndex((number) => number > last);
}
