/**
 * The phases of a task as a picture: what it waited for, its attempts, its cancel.
 *
 * Owns:   that picture.
 * Uses:   series.js (when each phase was).
 */

import { h, put } from "./dom.js";
import { clock, duration, statusWords } from "./format.js";
import { phases } from "./series.js";

export class Timeline {
  constructor() {
    this._bars = h("div.timeline-bars", { role: "list", "aria-label": "phases of the task" });
    this._marks = h("div.timeline-marks");
    this._cursor = h("div.plot-cursor", { hidden: true });
    this._from = h("span");
    this._to = h("span");
    this._legend = h("ul.legend");
    this.element = h("section.card.timeline", { "aria-label": "timeline" }, h("div.timeline-area", {}, this._bars, this._marks, this._cursor),
      h("div.timeline-scale", {}, this._from, this._to), this._legend);
  }

  show(task, changes, now) {
    const found = phases(task, changes, now);
    this._begin = found.from;
    this._end = found.to;
    const place = (time) => `${Math.min(100, Math.max(0, ((time - found.from) / (found.to - found.from)) * 100)).toFixed(3)}%`;
    put(this._bars, found.bars.map((bar) => this._bar(bar, place)));
    put(this._marks, found.marks.map(({ at, words, kind }) => h(`i.mark-${kind}`, { title: `${words}, ${clock(new Date(at).toISOString())}`, style: { "inset-inline-start": place(at) } })));
    this._from.textContent = clock(task.created_at);
    this._to.textContent = task.finished_at ? `${clock(task.finished_at)} (${duration((found.to - found.from) / 1000)})` : `now (${duration((found.to - found.from) / 1000)})`;
    put(this._legend, [...phaseWords(found.bars), ...found.marks.map(({ at, words, kind }) => h("li", {}, h(`i.mark-${kind}`), `${words} after ${duration((at - found.from) / 1000)}`))]);
  }

  moveTo(time_ms) {
    const share = (time_ms - this._begin) / (this._end - this._begin);
    this._cursor.hidden = !(share >= 0 && share <= 1);
    this._cursor.style.insetInlineStart = `${share * 100}%`;
  }

  _bar({ status, from, to, by, reason }, place) {
    const words = `${statusWords(status)} for ${duration((to - from) / 1000)}${by && by !== "server" ? `, by ${by}` : ""}${reason ? `: ${reason}` : ""}`;
    return h(`span.bar.status-${status}`, { role: "listitem", title: words, "aria-label": words, style: { "inset-inline-start": place(from), width: `calc(${place(to)} - ${place(from)})` } });
  }
}

/** What each status took in all. */
function phaseWords(bars) {
  const sums = new Map();
  for (const { status, from, to } of bars) {
    const sum = sums.get(status) ?? { times: 0, ms: 0 };
    sums.set(status, { times: sum.times + 1, ms: sum.ms + to - from });
  }
  return [...sums].map(([status, { times, ms }]) => h("li", {}, h(`i.dot.status-${status}`), `${status === "pending" ? "queued" : statusWords(status)} ${duration(ms / 1000)}${times > 1 ? ` in ${times} parts` : ""}`));
}
