/**
 * Numbers, times and words as people read them.
 *
 * Owns:   how a value looks. Pure: the time is an argument.
 * Never:  touches the document.
 */

/** Statuses that have no way out. */
export const TERMINAL = new Set(["completed", "failed", "cancelled", "timed_out", "interrupted"]);

/** All statuses, in the order in which a task may have them. */
export const STATUSES = ["pending", "running", "retrying", ...TERMINAL];

/** What a status is called. @param {string} status */
export const statusWords = (status) => status.replaceAll("_", " ");

/** Milliseconds since 1970 of an RFC 3339 time; null where there is none. @param {?string} time */
export const millis = (time) => (time ? Date.parse(time) : null);

const two = (number) => String(Math.floor(number)).padStart(2, "0");

/**
 * A duration: "0.25 s", "12 s", "3 m 04 s", "2 h 05 m", "3 d 4 h".
 * @param {number} seconds
 */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const value = Math.max(0, seconds);
  if (value < 0.001) return "0 s";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.floor(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} m ${two(value % 60)} s`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${two((value % 3600) / 60)} m`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}

/** How long ago: "12 s ago". @param {?string} time @param {number} now milliseconds since 1970 */
export function ago(time, now) {
  const at = millis(time);
  return at === null ? "" : `${duration((now - at) / 1000)} ago`;
}

/** A range in the future: "5 s – 12 s"; empty where nobody knows. @param {?{earliest: string, latest: string}} eta */
export function etaRange(eta, now) {
  if (!eta) return "";
  const [from, to] = [eta.earliest, eta.latest].map((time) => Math.max(0, (Date.parse(time) - now) / 1000));
  if (to <= 0) return "any moment";
  return duration(from) === duration(to) ? duration(to) : `${duration(from)} – ${duration(to)}`;
}

/** How long a task has lived, in seconds: to its end, or until now. */
export function lifetime(task, now) {
  return ((millis(task.finished_at) ?? now) - millis(task.created_at)) / 1000;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** The time of day with milliseconds, on the reader's clock. @param {?string} time */
export function clock(time) {
  if (!time) return "";
  const date = new Date(time);
  return `${CLOCK.format(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Day and time of day. @param {?string} time */
export const moment = (time) => (time ? `${DAY.format(new Date(time))}, ${clock(time)}` : "");

const COUNT = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** A number with separators. @param {number} value */
export const count = (value) => (Number.isFinite(value) ? COUNT.format(value) : "–");

/** A rate that stays short: 0.25, 3.1, 420. */
export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  return value >= 100 ? count(Math.round(value)) : value >= 10 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2);
}

/** Bytes: "12 kB", "3.4 MB". @param {number} value */
export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  let left = value;
  while (left >= 1000 && place < units.length - 1) {
    left /= 1000;
    place += 1;
  }
  return `${place && left < 10 ? left.toFixed(1) : Math.round(left)} ${units[place]}`;
}

/** A few words of any JSON value, on one line. @param {any} value */
export function brief(value, characters_max = 240) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > characters_max ? `${text.slice(0, characters_max)} …` : text;
}

/** What an event says, in a line. @param {{type: string, data: any}} event */
export function gist(event) {
  const data = event.data ?? {};
  switch (event.type) {
    case "log":
      return `${data.message ?? ""} ${brief(without(data, "level", "message"))}`.trim();
    case "progress":
      return `${COUNT.format(data.percent)} % ${data.message ?? ""}`.trim();
    case "running":
      return `attempt ${data.attempt}`;
    case "completed":
      return data.result === null || data.result === undefined ? "" : `result ${brief(data.result)}`;
    case "retrying":
      return `attempt ${data.attempt} at ${clock(data.retry_at)}: ${data.error?.message ?? ""}`;
    case "cancel_requested":
      return `by ${data.by}${data.reason ? `: ${data.reason}` : ""}${data.held_by ? ` (held back by ${data.held_by})` : ""}`;
    case "cancel_ignored":
      return `the handler goes on, at ${data.where}`;
    case "gap":
      return `events ${data.from} to ${data.to} are not kept any more (${data.reason})`;
    case "deadline_warning":
      return `${data.deadline} is over in ${duration(data.remaining_s)}`;
    default:
      return data.error ? `${data.error.code}: ${data.error.message}` : brief(empty(data) ? "" : data);
  }
}

function without(data, ...names) {
  const rest = Object.fromEntries(Object.entries(data).filter(([name]) => !names.includes(name)));
  return empty(rest) ? "" : rest;
}

const empty = (value) => typeof value === "object" && value !== null && !Object.keys(value).length;
