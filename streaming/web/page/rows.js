/**
 * The tasks of a list, as they are known here: what the server has answered, and what the feed has told since.
 *
 * Rules of this file:
 *
 * - An event that a record knows already changes nothing: `last_seq` says which it knows.
 * - Whether a task belongs into the list is the server's answer, never a guess: what may have changed that is "doubtful",
 *   and asked for.
 *
 * Owns:   the rows and their order. Pure.
 * Never:  asks the server, or touches the document.
 */

import { TERMINAL } from "./format.js";

const STATUS = new Set(["pending", "running", "retrying", ...TERMINAL]);
const RANK = { low: 0, normal: 1, high: 2, urgent: 3 };

/** What an event says about the record of its task. @returns {Object<string, any>} the fields that it changes. */
export function changesOf(event, task) {
  const data = event.data ?? {};
  const changes = { last_seq: event.seq, updated_at: event.time };
  if (event.type === "progress") {
    changes.progress = { percent: data.percent, message: data.message ?? null };
    if (data.steps) changes.steps = data.steps;
  } else if (event.type === "cancel_requested") {
    changes.cancel ??= { requested_at: event.time, by: data.by, reason: data.reason, outcome: "requested" };
  } else if (event.type === "cancel_ignored" && task.cancel) {
    changes.cancel = { ...task.cancel, outcome: "ignored", where: data.where };
  } else if (STATUS.has(event.type)) {
    Object.assign(changes, statusChanges(event, data));
  }
  return changes;
}

function statusChanges(event, data) {
  const changes = { status: event.type };
  if (data.attempt !== undefined) changes.attempt = data.attempt;
  if (event.type === "running") Object.assign(changes, { started_at: event.time, retry_at: null, eta: null });
  if (event.type === "retrying") Object.assign(changes, { retry_at: data.retry_at, eta: null });
  if (TERMINAL.has(event.type)) {
    Object.assign(changes, { finished_at: event.time, eta: null, error: data.error ?? null, result: data.result ?? null });
  }
  return changes;
}

/** Whether an event may change to which questions a task is an answer. */
export const isDoubtful = (event) => STATUS.has(event.type) || event.type === "cancel_requested";

/** Compare two records by a sort order of the API: "-created_at,id". @returns {function(any, any): number} */
export function comparator(sort) {
  const keys = (sort || "-created_at").split(",").map((word) => ({ name: word.replace(/^-/, ""), down: word[0] === "-" }));
  return (one, other) => {
    for (const { name, down } of keys) {
      const order = compare(valueOf(one, name), valueOf(other, name));
      if (order) return down ? -order : order;
    }
    const order = compare(one.id, other.id);
    return keys.at(-1).down ? -order : order;
  };
}

function valueOf(task, name) {
  if (name === "progress") return task.progress?.percent ?? null;
  return name === "priority" ? RANK[task.priority] : task[name];
}

/** Null comes before everything, as on the server. */
function compare(one, other) {
  if (one === other) return 0;
  if (one === null || one === undefined) return -1;
  if (other === null || other === undefined) return 1;
  return one < other ? -1 : 1;
}

export class Rows {
  constructor(sort = "-created_at") {
    this._compare = comparator(sort);
    this._byId = new Map();
    /** @type {Array<any>} the records, in their order. */
    this.list = [];
  }

  get(id) {
    return this._byId.get(id);
  }

  /** Take what the server has answered; older answers than what is known already change nothing. */
  add(records) {
    for (const record of records) {
      const known = this._byId.get(record.id);
      if (!known) {
        this._byId.set(record.id, record);
        this.list.push(record);
      } else if (record.last_seq >= known.last_seq) {
        Object.assign(known, record);
      }
    }
    this.list.sort(this._compare);
  }

  /** These do not belong into the list (any more). */
  remove(ids) {
    const gone = new Set(ids.filter((id) => this._byId.delete(id)));
    if (gone.size) this.list = this.list.filter((record) => !gone.has(record.id));
  }

  /** Take an event of the feed. @returns {boolean} whether a row has changed. */
  apply(event) {
    const task = this._byId.get(event.task_id);
    if (!task || event.seq <= task.last_seq) return false;
    Object.assign(task, changesOf(event, task));
    return true;
  }

  /** Keep no more than so many, the first ones. @returns {number} how many are not kept. */
  trim(most) {
    const rest = this.list.splice(most);
    for (const record of rest) this._byId.delete(record.id);
    return rest.length;
  }
}
