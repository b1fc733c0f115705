/**
 * The phases of a task as a picture: what it waited for, its attempts, its cancel and what held that back.
 *
 * Owns:   that picture.
 * Uses:   series.js (when each phase was).
 */

import { h, put, say } from "./dom.js";
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
    this.element = h("section.card.timeline", { "aria-label": "timeline" },
      h("div.timeline-area", {}, this._bars, this._marks, this._cursor),
      h("div.timeline-scale", {}, this._from, this._to), this._legend);
  }

  /** @param {any} task @param {Array<any>} changes @param {number} now @param {?string} section that held its cancel back */
  show(task, changes, now, section) {
    const found = phases(task, changes, now, section);
    this._begin = found.from;
    this._end = found.to;
    put(this._bars, found.bars.map((bar) => this._bar(`status-${bar.status}`, bar, barWords(bar))),
      found.held && this._bar("held", found.held, `${found.held.words} for ${lasting(found.held)}`));
    put(this._marks, found.marks.map(({ at, words, kind }) => h(`i.mark-${kind}`, {
      title: `${words}, ${clock(new Date(at).toISOString())}`, style: { "inset-inline-start": this._place(at) },
    })));
    const whole = duration((found.to - found.from) / 1000);
    say(this._from, clock(task.created_at));
    say(this._to, task.finished_at ? `${clock(task.finished_at)} (${whole})` : `now (${whole})`);
    put(this._legend, legend(found));
  }

  /** Show where a replay is; NaN shows nothing. */
  moveTo(time_ms) {
    const share = (time_ms - this._begin) / (this._end - this._begin);
    this._cursor.hidden = !(share >= 0 && share <= 1);
    this._cursor.style.insetInlineStart = `${share * 100}%`;
  }

  _place(time) {
    const share = ((time - this._begin) / (this._end - this._begin)) * 100;
    return `${Math.min(100, Math.max(0, share)).toFixed(3)}%`;
  }

  _bar(kind, { from, to }, words) {
    const style = { "inset-inline-start": this._place(from), width: `calc(${this._place(to)} - ${this._place(from)})` };
    return h(`span.bar.${kind}`, { role: "listitem", title: words, "aria-label": words, style });
  }
}

const lasting = ({ from, to }) => duration((to - from) / 1000);

function barWords(bar) {
  const name = { pending: "queued", retrying: `pause after attempt ${bar.attempt}`, running: `attempt ${bar.attempt}` }[bar.status];
  const by = bar.by && bar.by !== "server" ? `, by ${bar.by}` : "";
  return `${name ?? statusWords(bar.status)} for ${lasting(bar)}${by}${bar.reason ? `: ${bar.reason}` : ""}`;
}

/** What each status took in all, what held a cancel back, and how long after the beginning things happened. */
function legend({ from, bars, held, marks }) {
  const sums = new Map();
  for (const bar of bars) {
    const sum = sums.get(bar.status) ?? { times: 0, ms: 0 };
    sums.set(bar.status, { times: sum.times + 1, ms: sum.ms + bar.to - bar.from });
  }
  return [
    [...sums].map(([status, sum]) => h("li", {}, h(`i.dot.status-${status}`), statusTook(status, sum))),
    held && h("li", {}, h("i.dot.held"), `${held.words} for ${lasting(held)}`),
    marks.map(({ at, words, kind }) => h("li", {}, h(`i.mark-${kind}`), `${words} after ${duration((at - from) / 1000)}`)),
  ];
}

function statusTook(status, { times, ms }) {
  const took = duration(ms / 1000);
  if (status === "pending") return `queued ${took}`;
  if (status === "retrying") return `${times > 1 ? `${times} pauses` : "a pause"} between attempts, ${took}`;
  return `${statusWords(status)} ${took}${times > 1 ? `, in ${times} attempts` : ""}`;
}
