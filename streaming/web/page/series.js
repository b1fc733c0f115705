/**
 * What a log says over time: progress, and events per second.
 *
 * A log may be long, so it is looked at in places: numbers have no holes, so between two events whose times are known there
 * are as many others as their numbers say.
 *
 * Owns:   the points of the plots. Pure.
 * Never:  fetches anything.
 */

/** Places at which a long log is looked at. */
export const PLACES = 60;

/** The numbers at which to look. @param {number} last @returns {Array<number>} */
export function places(last, most = PLACES) {
  if (last <= most) return Array.from({ length: last }, (_, place) => place + 1);
  return Array.from({ length: most }, (_, place) => Math.round(1 + (place * (last - 1)) / (most - 1)));
}

/** Events that are kept of all that come, evenly, so that a plot of a task that never ends stays small. */
export class Samples {
  constructor(most = 240) {
    this._most = most;
    this._kept = [];
    this._step = 1;
    this._seen = 0;
    this._newest = null;
  }

  /** One more, in any order. */
  add(event) {
    if (event.seq > (this._newest?.seq ?? 0)) this._newest = event;
    this._seen += 1;
    if (this._seen % this._step) return;
    this._kept.push(event);
    if (this._kept.length <= this._most) return;
    this._kept = this._kept.filter((_, place) => place % 2 === 0);
    this._step *= 2;
  }

  /** Those that are kept, and the newest one, ascending, each once. @returns {Array<any>} */
  list() {
    const bySeq = new Map([...this._kept, ...(this._newest ? [this._newest] : [])].map((event) => [event.seq, event]));
    return [...bySeq.values()].sort((one, other) => one.seq - other.seq);
  }
}

/** Points of the progress. @param {Array<any>} events ascending @returns {Array<[number, number]>} time in ms, percent */
export function progressPoints(events) {
  return events.filter((event) => event.type === "progress").map((event) => [Date.parse(event.time), event.data.percent]);
}

/**
 * Events per second between the events that are known.
 * @param {Array<any>} events ascending
 * @param {number} from_ms @param {number} to_ms @param {number} bars
 * @returns {Array<[number, number]>} the middle of each stretch of time, events per second in it
 */
export function ratePoints(events, from_ms, to_ms, bars = 60) {
  const span = Math.max(1, to_ms - from_ms) / bars;
  const found = new Array(bars).fill(0);
  for (let place = 1; place < events.length; place += 1) {
    const [one, other] = [events[place - 1], events[place]];
    const [begin, end] = [Date.parse(one.time), Date.parse(other.time)];
    spread(found, begin - from_ms, end - from_ms, Math.max(0, other.seq - one.seq), span);
  }
  if (events.length) spread(found, Date.parse(events[0].time) - from_ms, Date.parse(events[0].time) - from_ms, 1, span);
  return found.map((number, place) => [from_ms + (place + 0.5) * span, (number * 1000) / span]);
}

/** Spread so many events evenly over a stretch of time. */
function spread(found, begin, end, number, span) {
  const place = (time) => Math.min(found.length - 1, Math.max(0, Math.floor(time / span)));
  const [first, last] = [place(begin), place(end)];
  if (first === last || end <= begin) {
    found[last] += number;
    return;
  }
  for (let bar = first; bar <= last; bar += 1) {
    const share = Math.min(end, (bar + 1) * span) - Math.max(begin, bar * span);
    found[bar] += (number * Math.max(0, share)) / (end - begin);
  }
}

/**
 * @typedef {Object} Phases
 * @property {number} from @property {number} to in milliseconds
 * @property {Array<{status: string, attempt: number, from: number, to: number, by: string, reason: string}>} bars
 * @property {?{from: number, to: number, words: string}} held while a protected section held a cancel back
 * @property {Array<{at: number, words: string, kind: string}>} marks
 */

/**
 * The phases of a task: a bar for each status, with what happened in between.
 * @param {any} task @param {Array<any>} changes of `GET /tasks/{id}/history` @param {number} now
 * @param {?string} [section] the protected section in which the handler was when its cancel was asked for.
 * @returns {Phases}
 */
export function phases(task, changes, now, section = null) {
  const from = Date.parse(task.created_at);
  const to = Math.max(from + 1, Date.parse(task.finished_at ?? "") || now);
  let attempt = 0;
  const bars = changes.map((change, place) => ({
    status: change.to,
    attempt: change.to === "running" ? (attempt += 1) : attempt,
    from: Date.parse(change.time),
    to: changes[place + 1] ? Date.parse(changes[place + 1].time) : to,
    by: change.by,
    reason: change.reason,
  }));
  const lasting = bars.filter((bar, place) => place < bars.length - 1 || bar.to > bar.from);
  return { from, to, bars: lasting, held: heldOf(task, to, section), marks: marksOf(task, section) };
}

/** By so many milliseconds a cancel is delivered later, if a section holds it back. */
const HELD_MS = 50;

/** Whether a cancel was not delivered at once. */
export const isHeld = ({ cancel }) =>
  Boolean(cancel && (!cancel.delivered_at || Date.parse(cancel.delivered_at) - Date.parse(cancel.requested_at) > HELD_MS));

function heldOf(task, to, section) {
  if (!section || !task.cancel) return null;
  const end = Date.parse(task.cancel.delivered_at ?? task.cancel.stopped_at ?? "") || to;
  return { from: Date.parse(task.cancel.requested_at), to: end, words: `held back by the protected section “${section}”` };
}

function marksOf(task, section) {
  const { cancel } = task;
  if (!cancel) return [];
  const after = section ? `, after the protected section “${section}”` : isHeld(task) ? ", after a protected section" : "";
  return [
    { at: cancel.requested_at, kind: "requested", words: `cancel requested by ${cancel.by}` },
    { at: cancel.delivered_at, kind: "delivered", words: `cancel delivered${after}` },
    { at: cancel.stopped_at, kind: "stopped", words: "stopped" },
  ]
    .filter((each) => each.at)
    .map((each) => ({ ...each, at: Date.parse(each.at) }));
}
