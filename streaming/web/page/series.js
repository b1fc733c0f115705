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
 * The phases of a task: a bar for each status, with what happened in between.
 * @param {any} task @param {Array<any>} changes of `GET /tasks/{id}/history` @param {number} now
 * @returns {{from: number, to: number, bars: Array<{status: string, from: number, to: number, by: string, reason: string}>, marks: Array<{at: number, words: string, kind: string}>}}
 */
export function phases(task, changes, now) {
  const from = Date.parse(task.created_at);
  const to = Math.max(from + 1, Date.parse(task.finished_at ?? "") || now);
  const bars = changes.map((change, place) => ({
    status: change.to,
    from: Date.parse(change.time),
    to: changes[place + 1] ? Date.parse(changes[place + 1].time) : to,
    by: change.by,
    reason: change.reason,
  }));
  return { from, to, bars: bars.filter((bar, place) => place < bars.length - 1 || bar.to > bar.from), marks: marksOf(task) };
}

function marksOf(task) {
  const { cancel } = task;
  if (!cancel) return [];
  const held = cancel.delivered_at && Date.parse(cancel.delivered_at) - Date.parse(cancel.requested_at) > 50;
  return [
    { at: cancel.requested_at, kind: "requested", words: `cancel requested by ${cancel.by}` },
    { at: cancel.delivered_at, kind: "delivered", words: held ? "cancel delivered, after a protected section" : "cancel delivered" },
    { at: cancel.stopped_at, kind: "stopped", words: "stopped" },
  ]
    .filter((each) => each.at)
    .map((each) => ({ ...each, at: Date.parse(each.at) }));
}
