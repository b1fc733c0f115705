/**
 * One HTTP connection for the feed and the logs of many tasks.
 *
 * Rules of this file:
 *
 * - What was given to `onEvent` is behind the cursor, and nothing else is.
 * - Another set of logs is another request, from the cursor on: nothing is missed, nothing comes twice.
 *
 * Owns:  what is wanted, and the place in all of it.
 * Uses:  reading.js (connections), vector.js (the cursor), order.js (what follows in a log).
 * Never: asks for a task that nobody wants any more.
 */

import { Order } from "./order.js";
import { Problem } from "./problem.js";
import { Reading } from "./reading.js";
import { parseVector, writeVector } from "./vector.js";

/** STREAMING_WATCH_LOGS_MAX, if nobody has set it otherwise. */
export const LOGS_MAX = 20;

/** Milliseconds until a log is asked for again that another process has taken. */
const LOST_MS = 5000;

/** @typedef {import("./order.js").TaskEvent} TaskEvent */

/**
 * What `onEvent` gets.
 *
 * - `event`, `gap`: an event of a log or of the feed; a gap names events that are not there any more.
 * - `end`: the log has ended, behind its terminal event.
 * - `missing`: the server has no such log, or not this place in it; `problem` says why. It is not asked for any more.
 *
 * @typedef {object} Item
 * @property {"event" | "gap" | "end" | "missing"} kind
 * @property {"feed" | "log"} channel
 * @property {string} taskId
 * @property {TaskEvent} [event]
 * @property {number} [position] in the feed
 * @property {number} [before] position of the event of the feed that was given before this one, or where it began
 * @property {number} [seq] of the last event, with `end`
 * @property {Problem} [problem]
 */

/**
 * @typedef {object} ConnectionOptions
 * @property {boolean} [feed] follow the feed, from now on
 * @property {string[]} [types] only events of these types, of the feed
 * @property {string[]} [taskTypes] only of tasks of these types
 * @property {string} [tag] only of tasks with this tag
 * @property {Iterable<string> | Record<string, number>} [logs] task ids; or the seq that was seen last, by task id
 * @property {string | null} [after] a `cursor` of an earlier connection
 * @property {(item: Item) => void} [onEvent]
 * @property {(state: import("./reading.js").State) => void} [onState]
 * @property {(position: number | null) => void} [onPlace] where in the feed "from now on" was
 * @property {"fetch" | "eventsource"} [transport]
 * @property {number} [keepaliveS]
 * @property {number} [logsMax] STREAMING_WATCH_LOGS_MAX
 * @property {AbortSignal} [signal]
 */

export class Connection {
  /** What has happened: events given, connections lost and opened again, gaps, sets of logs changed, old events dropped. */
  stats = { events: 0, reconnects: 0, gaps: 0, changes: 0, repeated: 0 };

  #client;
  #options;
  /** @type {number | null} */
  #feedAt = null;
  /** @type {Map<string, Order>} */
  #logs = new Map();
  #closing = new AbortController();
  #changed = false;
  #changing = false;
  #asked = false; // for another set
  #opened = false;
  /** @type {number | null} position of the last event of the feed that was given, or where it began */
  #given = null;
  #lostTimer = undefined;
  #wake = () => {};
  /** @type {import("./reading.js").State} */
  #state = { state: "connecting", attempt: 0, seconds: null, problem: null };
  #reading;

  /**
   * @param {import("./client.js").Client} client
   * @param {ConnectionOptions} options
   */
  constructor(client, options) {
    const { feed = false, types, taskTypes, tag, logs = [], after, transport = "fetch", signal, keepaliveS } = options;
    if (transport === "eventsource" && client.guarded) {
      throw new TypeError("An EventSource sends no credential: a connection with a token needs the transport fetch.");
    }
    this.#client = client;
    this.#options = { logsMax: LOGS_MAX, onEvent: () => {}, onState: () => {}, onPlace: () => {}, ...options, feed };
    this.#filters = { type: types?.join(","), task_type: taskTypes?.join(","), tag };
    const wanted = Symbol.iterator in logs ? [...logs].map((id) => [id, 0]) : Object.entries(logs);
    for (const [id, seq] of wanted) this.#logs.set(id, new Order(seq));
    if (after) this.#resume(after);
    this.#check(this.#logs.size);
    if (signal?.aborted) this.#closing.abort();
    signal?.addEventListener("abort", () => this.close(), { signal: this.#closing.signal });
    this.#reading = new Reading({
      request: () => this.#request(),
      signal: this.#closing.signal,
      wanted: () => this.#wanted,
      onState: (state) => this.#say(state),
      fetch: client.fetch,
      renewable: client.renewable,
      transport,
      ...(keepaliveS && { keepaliveS }),
    });
    /** Fulfilled once it is closed, by whomever. @type {Promise<void>} */
    this.closed = this.#run();
  }

  #filters;

  // -- what is wanted ------------------------------------------------------------------------------------------------

  /**
   * Follow the log of a task. One that is followed is read once more from `after`, if that is further back.
   * @param {string} id
   * @param {number | null} [after] seq of the last event that was seen; without it from the beginning, or as it is
   */
  addLog(id, after = null) {
    const known = this.#logs.get(id);
    if (known !== undefined && (after === null || known.last <= after)) return;
    if (known === undefined) this.#check(this.#logs.size + 1);
    this.#logs.set(id, new Order(after ?? 0));
    this.#change();
  }

  /** @param {string} id */
  removeLog(id) {
    if (this.#logs.delete(id)) this.#change();
  }

  /**
   * Follow the feed. One that is followed is read once more from there, if that is further back.
   * @param {number | null} [after] position that was seen last; null: from now on
   */
  followFeed(after = null) {
    if (this.#options.feed && (after === null || (this.#feedAt !== null && this.#feedAt <= after))) return;
    this.#options.feed = true;
    this.#feedAt = this.#given = after;
    this.#change();
  }

  leaveFeed() {
    if (!this.#options.feed) return;
    this.#options.feed = false;
    this.#feedAt = this.#given = null;
    this.#change();
  }

  /** The ids of the logs that are followed. */
  get logs() {
    return [...this.#logs.keys()];
  }

  /** @param {string} id @returns {number | null} seq of the last event of a log; null if it is not followed */
  seqOf(id) {
    return this.#logs.get(id)?.last ?? null;
  }

  /** The place in all that is followed: `connect({after: cursor})` goes on there. */
  get cursor() {
    const logs = new Map([...this.#logs].map(([id, order]) => [id, order.last]));
    return writeVector({ feed: this.#feedAt, logs });
  }

  /** Position in the feed; null before the server has said it. */
  get position() {
    return this.#feedAt;
  }

  /** What was said last. */
  get state() {
    return this.#state;
  }

  close() {
    clearTimeout(this.#lostTimer);
    this.#closing.abort();
    this.#wake();
  }

  get #wanted() {
    return this.#options.feed || this.#logs.size > 0;
  }

  /** @param {string} cursor */
  #resume(cursor) {
    const { feed, logs } = parseVector(cursor);
    if (this.#options.feed) this.#feedAt = this.#given = feed;
    for (const [id, seq] of logs) if (this.#logs.has(id)) this.#logs.set(id, new Order(seq));
  }

  /** @param {number} size */
  #check(size) {
    const { logsMax } = this.#options;
    if (size > logsMax) throw new RangeError(`One connection follows ${logsMax} logs at most.`);
  }

  /** Ask anew, once for all that changes in this moment. */
  #change() {
    this.#changed = true; // what still comes is of the old set, and is read again
    if (this.#changing) return;
    this.#changing = true;
    queueMicrotask(() => {
      this.#changing = false;
      this.stats.changes += 1;
      this.#reading.again();
      this.#wake();
    });
  }

  // -- the connection ------------------------------------------------------------------------------------------------

  async #run() {
    try {
      while (!this.#closing.signal.aborted) {
        if (this.#wanted) await this.#read();
        else await this.#idle();
      }
      this.#say({ state: "closed", attempt: 0, seconds: null, problem: null });
    } catch (error) {
      if (this.#closing.signal.aborted) this.#say({ state: "closed", attempt: 0, seconds: null, problem: null });
      else if (error instanceof Problem) this.#say({ state: "closed", attempt: 0, seconds: null, problem: error });
      else throw error;
      this.#closing.abort();
    }
  }

  async #read() {
    try {
      for await (const block of this.#reading.blocks()) if (!this.#changed) this.#take(block);
    } catch (error) {
      const id = this.#blamed(error);
      if (id === null) throw error;
      this.#logs.delete(id);
      this.#give({ kind: "missing", channel: "log", taskId: id, problem: /** @type {Problem} */ (error) });
      return;
    }
    if (this.#reading.over) this.#allHaveEnded();
  }

  /** Nothing is asked for: wait until something is. */
  async #idle() {
    this.#say({ state: "idle", attempt: 0, seconds: null, problem: null });
    await new Promise((resolve) => {
      this.#wake = () => resolve(undefined);
    });
  }

  /** 204: whoever asks for logs that have all ended, and has seen it, is told so. */
  #allHaveEnded() {
    for (const id of [...this.#logs.keys()]) this.#end(id);
  }

  /**
   * The log that a refusal is about, if it is about one: the others are not to suffer.
   * @param {unknown} error
   * @returns {string | null}
   */
  #blamed(error) {
    if (!(error instanceof Problem) || ![404, 400].includes(error.status)) return null;
    return [...this.#logs.keys()].find((id) => error.detail.includes(id)) ?? null;
  }

  async #request() {
    const query = new URLSearchParams();
    if (this.#options.feed) {
      query.set("feed", "1");
      for (const [name, value] of Object.entries(this.#filters)) if (value) query.set(name, value);
    }
    if (this.#logs.size > 0) query.set("log", [...this.#logs.keys()].sort().join(","));
    const headers = await this.#client.headers();
    const cursor = this.cursor;
    if (cursor !== "" && this.#options.transport === "eventsource") query.set("last_event_id", cursor);
    else if (cursor !== "") headers["last-event-id"] = cursor;
    this.#asked ||= this.#changed;
    this.#changed = false;
    return { url: this.#client.address(`/watch?${query}`), headers };
  }

  // -- what comes ----------------------------------------------------------------------------------------------------

  /** @param {import("./sse.js").Block} block */
  #take(block) {
    const { feed } = parseVector(block.id);
    const data = JSON.parse(block.data);
    if (block.event === "feed") {
      this.#takeOfFeed(data, feed ?? 0);
      return;
    }
    // Before anything is given: whoever gets it may want the feed from elsewhere.
    if (feed !== null && this.#feedAt !== null) this.#feedAt = Math.max(this.#feedAt, feed);
    if (block.event === "log") this.#takeOfLog(data);
    else if (block.event === "end") this.#end(data.task_id);
    else if (block.event === "lost") this.#askLater();
    else if (block.event === "cursor" && this.#options.feed && this.#feedAt === null) {
      this.#feedAt = this.#given = feed;
      call(this.#options.onPlace, feed);
    }
  }

  /** @param {TaskEvent} event */
  #takeOfLog(event) {
    const order = this.#logs.get(event.task_id);
    if (order === undefined) return; // nobody wants it any more: it was on its way
    const place = order.take(event);
    if (place === "hole") this.#reading.again();
    else if (place === "old") this.stats.repeated += 1;
    else this.#give({ kind: kindOf(event), channel: "log", taskId: event.task_id, event });
  }

  /**
   * @param {TaskEvent} event
   * @param {number} position
   */
  #takeOfFeed(event, position) {
    if (position <= (this.#feedAt ?? 0)) {
      this.stats.repeated += 1;
      return;
    }
    const before = this.#given ?? 0;
    this.#feedAt = this.#given = position;
    this.#give({ kind: kindOf(event), channel: "feed", taskId: event.task_id, event, position, before });
  }

  /** @param {string} id */
  #end(id) {
    const order = this.#logs.get(id);
    if (order === undefined) return;
    this.#logs.delete(id);
    this.#give({ kind: "end", channel: "log", taskId: id, seq: order.last });
  }

  /** Another process has taken a task: this server may have it again, or another one answers the next time. */
  #askLater() {
    clearTimeout(this.#lostTimer);
    this.#lostTimer = setTimeout(() => this.#reading.again(), LOST_MS);
  }

  /** @param {Item} item */
  #give(item) {
    if (item.kind === "event" || item.kind === "gap") this.stats.events += 1;
    if (item.kind === "gap") this.stats.gaps += 1;
    call(this.#options.onEvent, item);
  }

  /** @param {import("./reading.js").State} state */
  #say(state) {
    if (state.state === "open") {
      if (this.#opened && !this.#asked) this.stats.reconnects += 1;
      this.#opened = true;
      this.#asked = false;
    }
    this.#state = state;
    call(this.#options.onState, state);
  }
}

/** @param {TaskEvent} event @returns {"event" | "gap"} */
function kindOf(event) {
  return event.type === "gap" ? "gap" : "event";
}

/**
 * A mistake of whoever listens is theirs: it is reported as one, and the stream goes on.
 * @template T
 * @param {(value: T) => void} listener
 * @param {T} value
 */
export function call(listener, value) {
  try {
    listener(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
