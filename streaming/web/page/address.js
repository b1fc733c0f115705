/**
 * Where the page is: everything that is looked at stands in the URL, so that it can be kept and sent to others.
 *
 * Owns:   reading and writing the query. Pure.
 * Never:  touches the history of the browser.
 */

/** Parameters that are the page's own; all others are filters of `GET /tasks`, passed on as they are. */
const OWN = ["task", "tab", "view", "new"];

/** Orders of the presets of `GET /tasks` that are not that of all tasks. */
const PRESET_SORTS = {
  failed: "-finished_at", completed_today: "-finished_at", high_priority: "-priority,-created_at", stale: "heartbeat_at",
};

/**
 * @typedef {Object} Place
 * @property {"tasks"|"task"|"server"|"new"} view
 * @property {string} [task] id of the task that is looked at.
 * @property {string} [tab] of the task.
 * @property {string} [type] of the task that is about to be started.
 * @property {Array<[string, string]>} filters of the list.
 */

/** @param {string} search "?status=running" @returns {Place} */
export function readPlace(search) {
  const query = new URLSearchParams(search);
  const filters = [...query].filter(([name, value]) => !OWN.includes(name) && value !== "");
  const task = query.get("task");
  if (task !== null && /^[0-9a-f]{32}$/.test(task)) return { view: "task", task, tab: query.get("tab") ?? "events", filters };
  if (query.has("new")) return { view: "new", type: query.get("new"), filters };
  return { view: query.get("view") === "server" ? "server" : "tasks", filters };
}

/** @param {Partial<Place>} place @returns {string} the query, to be put behind the path. */
export function writePlace(place) {
  const query = new URLSearchParams(place.filters ?? []);
  if (place.view === "task") {
    query.set("task", place.task);
    if (place.tab && place.tab !== "events") query.set("tab", place.tab);
  } else if (place.view === "new") query.set("new", place.type ?? "");
  else if (place.view === "server") query.set("view", "server");
  const text = query.toString();
  return text ? `?${text}` : "?";
}

/** The value of a filter; empty where there is none. */
export function filterOf(filters, name) {
  return filters.find(([known]) => known === name)?.[1] ?? "";
}

/** The filters with one of them set, or without it. */
export function withFilter(filters, name, value) {
  const others = filters.filter(([known]) => known !== name);
  return value ? [...others, [name, value]] : others;
}

/** The order in which the server answers: the one that is asked for, or that of a preset. */
export function sortOf(filters) {
  return filterOf(filters, "sort") || PRESET_SORTS[filterOf(filters, "preset")] || "-created_at";
}

/** A list with this member, or without it where it was there. */
export function toggled(list, member) {
  return list.includes(member) ? list.filter((each) => each !== member) : [...list, member];
}
