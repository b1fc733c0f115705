/**
 * Watching one task.
 *
 * Owns:  the events of one log, each once and in order, to the terminal one.
 * Uses:  reading.js (connections), order.js (what follows).
 * Never: shares a connection (connection.js does).
 */

import { Order, TERMINAL } from "./order.js";
import { Reading } from "./reading.js";

/** A stream token is changed for a new one when so much of its time is over. */
const RENEWED_AFTER = 0.8;

/** @typedef {import("./order.js").TaskEvent} TaskEvent */

/**
 * @typedef {object} WatchOptions
 * @property {number} [after] seq of the last event that was seen
 * @property {AbortSignal} [signal]
 * @property {(state: import("./reading.js").State) => void} [onState]
 * @property {"fetch" | "eventsource"} [transport]
 * @property {number} [keepaliveS] STREAMING_KEEPALIVE_S, if it was set
 */

/**
 * The events of a task.
 * @implements {AsyncIterableIterator<TaskEvent>}
 */
export class Watching {
  #leaving = new AbortController();
  #events;

  /**
   * @param {import("./client.js").Client} client
   * @param {string} taskId
   * @param {WatchOptions} options
   */
  constructor(client, taskId, { after = 0, signal, onState, transport = "fetch", keepaliveS } = {}) {
    const leaving = this.#leaving;
    const leave = () => leaving.abort(signal?.reason);
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave);
    const order = new Order(after);
    const request = transport === "fetch" ? byHeader : byAddress;
    const reading = new Reading({
      request: () => request(client, taskId, order.last),
      signal: leaving.signal,
      fetch: client.fetch,
      renewable: client.renewable,
      transport,
      ...(onState && { onState }),
      ...(keepaliveS && { keepaliveS }),
    });
    this.#events = events(reading, order, () => signal?.removeEventListener("abort", leave));
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    return this.#events.next();
  }

  /** Leave, also in the middle of a `next()` that waits: it is done then. */
  async return() {
    this.#leaving.abort(LEFT);
    return this.#events.return();
  }

  /** @param {unknown} error */
  async throw(error) {
    this.#leaving.abort(LEFT);
    await this.#events.return();
    throw error;
  }
}

const LEFT = Symbol("left");

/**
 * @param {Reading} reading
 * @param {Order} order
 * @param {() => void} over
 * @returns {AsyncGenerator<TaskEvent, void, void>}
 */
async function* events(reading, order, over) {
  try {
    for await (const block of reading.blocks()) {
      if (block.event === "end") return;
      if (block.event === "cursor" || block.event === "lost") continue;
      const event = JSON.parse(block.data);
      const place = order.take(event);
      if (place === "hole") reading.again();
      if (place !== "next") continue;
      yield event;
      if (TERMINAL.has(event.type)) return;
    }
  } catch (error) {
    if (error !== LEFT) throw error;
  } finally {
    over();
  }
}

/**
 * @param {import("./client.js").Client} client
 * @param {string} taskId
 * @param {number} last
 */
async function byHeader(client, taskId, last) {
  const headers = await client.headers();
  if (last > 0) headers["last-event-id"] = String(last);
  return { url: client.address(`/tasks/${taskId}/events`), headers };
}

/**
 * An EventSource knows no types that it was not told, and sends no headers: a watch of this one log, by a token.
 * @param {import("./client.js").Client} client
 * @param {string} taskId
 * @param {number} last
 */
async function byAddress(client, taskId, last) {
  const query = new URLSearchParams({ log: `${taskId}:${last}` });
  if (!client.guarded) return { url: client.address(`/watch?${query}`) };
  const { token, expires_at } = await client.streamToken(taskId);
  query.set("stream_token", token);
  const goodForMs = RENEWED_AFTER * Math.max(0, Date.parse(expires_at) - Date.now());
  return { url: client.address(`/watch?${query}`), goodForMs };
}
