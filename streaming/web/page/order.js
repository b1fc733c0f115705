/**
 * What a reader of one log has seen, and what may follow.
 *
 * Owns:  whether an event is the next one, an old one, or one too far.
 * Never: asks for anything.
 */

import { Problem } from "./problem.js";

/** Types of the last event of a log. */
export const TERMINAL = new Set(["completed", "failed", "cancelled", "timed_out", "interrupted"]);

/**
 * One event of a task.
 * @typedef {object} TaskEvent
 * @property {number} seq 1, 2, 3, ... without holes
 * @property {string} task_id
 * @property {string} type
 * @property {string} time
 * @property {any} data
 */

/** The place of a reader in one log. */
export class Order {
  #mending = false;

  /** @param {number} last seq of the last event that was seen; 0 for none */
  constructor(last) {
    this.last = last;
  }

  /**
   * Where an event stands.
   * @param {TaskEvent} event
   * @returns {"next" | "old" | "hole"}
   */
  look(event) {
    if (event.seq <= this.last) return "old";
    const first = event.type === "gap" ? event.data.from : event.seq;
    return first > this.last + 1 ? "hole" : "next";
  }

  /**
   * Take the next event that has come.
   * @param {TaskEvent} event
   * @returns {"next" | "old" | "hole"} a hole is to be read again, from `last` on
   * @throws {Problem} if that did not help
   */
  take(event) {
    const place = this.look(event);
    if (place === "old") return "old";
    if (place === "hole") {
      if (this.#mending) {
        const detail = `Event ${this.last + 1} of task ${event.task_id} does not come: ${event.seq} does, again.`;
        throw new Problem({ code: "log_gap", detail });
      }
      this.#mending = true;
      return "hole";
    }
    this.#mending = false;
    this.last = event.seq;
    return "next";
  }
}
