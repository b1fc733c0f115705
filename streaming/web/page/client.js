/**
 * The client of a `streaming` server, for browsers and node: one module without dependencies.
 *
 *     import { Client } from "/page/client.js";
 *     const client = new Client();
 *     const task = await client.start("countdown", { count: 5 });
 *     for await (const event of client.watch(task.id)) console.log(event.seq, event.type, event.data);
 *
 * Owns:  requests and answers; what the other modules offer is offered here as well.
 * Never: keeps a task: what it says of one is what the server has just said.
 */

import { Connection } from "./connection.js";
import { Problem, problemOf, unreachable } from "./problem.js";
import { pause } from "./surroundings.js";
import { Watching } from "./watching.js";

export { Connection } from "./connection.js";
export { Problem } from "./problem.js";
export { Parser } from "./sse.js";
export { shared, Shared } from "./shared.js";

/** A request that may be sent again is sent so many times in all. */
const TRIES = 3;

/** Milliseconds before the second try, if the server does not say how long. */
const PAUSE_MS = 500;

/** @typedef {import("./order.js").TaskEvent} TaskEvent */
/** @typedef {null | string | (() => Promise<string | null>)} Token */

/**
 * @typedef {object} ClientOptions
 * @property {string} [baseUrl] where the server is; "" is where the page has come from
 * @property {Token} [token] an API key or a JWT, or what gives a fresh one
 * @property {typeof globalThis.fetch} [fetch]
 */

export class Client {
  #token;

  /** @param {ClientOptions} [options] */
  constructor({ baseUrl = "", token = null, fetch = globalThis.fetch } = {}) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.fetch = fetch === globalThis.fetch ? fetch.bind(globalThis) : fetch;
    this.#token = token;
  }

  // -- one task ------------------------------------------------------------------------------------------------------

  /**
   * Start a task. Repeated by itself, it starts no second one.
   * @param {string} type
   * @param {object} [params]
   * @param {{idempotencyKey?: string, signal?: AbortSignal} & Record<string, unknown>} [options] the fields of a start,
   *   as `timeoutS`, `priority`, `key`, `ifRunning`, `tags`
   * @returns {Promise<any>} the task
   */
  start(type, params = {}, { idempotencyKey = newKey(), signal, ...options } = {}) {
    const headers = { "idempotency-key": idempotencyKey };
    return this.#ask("POST", "/tasks", { body: { type, params, ...fields(options) }, headers, signal, again: true });
  }

  /**
   * @param {string} id
   * @param {{waitS?: number, signal?: AbortSignal}} [options] wait for the end, so long at most
   * @returns {Promise<any>} the task
   */
  get(id, { waitS, signal } = {}) {
    return this.#ask("GET", `/tasks/${id}${search({ wait_s: waitS })}`, { signal, again: true });
  }

  /**
   * @param {string} id
   * @param {{reason?: string, waitS?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<any>} the task; its `cancel` is the receipt
   */
  cancel(id, { reason, waitS, signal } = {}) {
    const body = reason === undefined ? undefined : { reason };
    return this.#ask("POST", `/tasks/${id}/cancel${search({ wait_s: waitS })}`, { body, signal, again: true });
  }

  /**
   * Move deadlines.
   * @param {string} id
   * @param {{signal?: AbortSignal} & Record<string, unknown>} limits `timeoutS`, `totalTimeoutS`, ...; null takes one away
   * @returns {Promise<any>} the task
   */
  extend(id, { signal, ...limits }) {
    return this.#ask("POST", `/tasks/${id}/extend`, { body: fields(limits), signal });
  }

  /**
   * Start a task that has ended once more.
   * @param {string} id
   * @param {{idempotencyKey?: string, signal?: AbortSignal}} [options]
   * @returns {Promise<any>} the new task
   */
  retry(id, { idempotencyKey = newKey(), signal } = {}) {
    const headers = { "idempotency-key": idempotencyKey };
    return this.#ask("POST", `/tasks/${id}/retry`, { headers, signal, again: true });
  }

  /**
   * Send something into a running task. It is tried once: a second one would be another input.
   * @param {string} id
   * @param {unknown} data
   * @returns {Promise<{seq: number}>}
   */
  input(id, data) {
    return this.#ask("POST", `/tasks/${id}/input`, { body: { data } });
  }

  /** @param {string} id @returns {Promise<any>} the task: its result was seen */
  ack(id) {
    return this.#ask("POST", `/tasks/${id}/ack`, { again: true });
  }

  /** @param {string} id forget a task that has ended */
  async delete(id) {
    await this.#ask("DELETE", `/tasks/${id}`);
  }

  /**
   * One page of a log, without waiting for more.
   * @param {string} id
   * @param {{after?: number, limit?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<{events: TaskEvent[], next_cursor: number | null}>}
   */
  history(id, { after, limit, signal } = {}) {
    const query = search({ last_event_id: after, limit });
    return this.#ask("GET", `/tasks/${id}/events${query}`, { signal, again: true });
  }

  /**
   * Every status a task has had.
   * @param {string} id
   * @returns {Promise<any[]>}
   */
  async changes(id) {
    return (await this.#ask("GET", `/tasks/${id}/history`, { again: true })).changes;
  }

  /**
   * A credential for a URL, good for the events of one task.
   * @param {string} id
   * @returns {Promise<{token: string, expires_at: string, url: string}>}
   */
  streamToken(id) {
    return this.#ask("POST", `/tasks/${id}/stream-token`, { again: true });
  }

  // -- many tasks ----------------------------------------------------------------------------------------------------

  /**
   * One page of tasks.
   * @param {Record<string, unknown>} [query] filters, `sort`, `limit`, `cursor`; several values are an array
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<{tasks: any[], next_cursor: string | null}>}
   */
  list(query = {}, { signal } = {}) {
    return this.#ask("GET", `/tasks${search(query)}`, { signal, again: true });
  }

  /**
   * All tasks that filters ask for, page by page.
   * @param {Record<string, unknown>} [query]
   */
  async *tasks(query = {}) {
    let cursor;
    do {
      const page = await this.list({ ...query, cursor });
      yield* page.tasks;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  /**
   * @param {Record<string, unknown>} [query] filters, and `group_by`
   * @returns {Promise<{count: number, groups: any[]}>}
   */
  count(query = {}) {
    return this.#ask("GET", `/tasks/count${search(query)}`, { again: true });
  }

  /** @returns {Promise<any[]>} the task types */
  async types() {
    return (await this.#ask("GET", "/types", { again: true })).types;
  }

  /**
   * @param {Record<string, unknown>} [query] `window`, `type`, `by`
   * @returns {Promise<any>}
   */
  stats(query = {}) {
    return this.#ask("GET", `/stats${search(query)}`, { again: true });
  }

  /** @returns {Promise<any>} who is calling, and what they may do */
  principal() {
    return this.#ask("GET", "/principal", { again: true });
  }

  // -- anything else ---------------------------------------------------------------------------------------------------

  /**
   * Any route of the server.
   * @param {string} method
   * @param {string} path
   * @param {object} [request]
   * @param {Record<string, unknown> | [string, unknown][]} [request.query] in pairs a name may come more than once
   * @param {unknown} [request.body]
   * @param {AbortSignal} [request.signal]
   * @returns {Promise<any>} the answer; null if it has no body
   */
  request(method, path, { query = {}, body, signal } = {}) {
    return this.#ask(method, path + search(query), { body, signal, again: method === "GET" });
  }

  // -- streams -------------------------------------------------------------------------------------------------------

  /**
   * The events of one task, each once and in order, to the terminal one.
   * @param {string} id
   * @param {import("./watching.js").WatchOptions} [options]
   */
  watch(id, options = {}) {
    return new Watching(this, id, options);
  }

  /**
   * One connection for the feed and the logs of many tasks.
   * @param {import("./connection.js").ConnectionOptions} [options]
   */
  connect(options = {}) {
    return new Connection(this, options);
  }

  // -- for the other modules -----------------------------------------------------------------------------------------

  /** Whether it shows a credential. */
  get guarded() {
    return this.#token !== null;
  }

  /** Whether it may have a better credential than the last one. */
  get renewable() {
    return typeof this.#token === "function";
  }

  /** @param {string} path */
  address(path) {
    return this.baseUrl + path;
  }

  /** @returns {Promise<Record<string, string>>} what shows who is calling */
  async headers() {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return token === null ? {} : { authorization: `Bearer ${token}` };
  }

  // -- requests ------------------------------------------------------------------------------------------------------

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [request]
   * @param {unknown} [request.body]
   * @param {Record<string, string>} [request.headers]
   * @param {AbortSignal} [request.signal]
   * @param {boolean} [request.again] whether it may be sent again
   * @returns {Promise<any>}
   */
  async #ask(method, path, { body, headers = {}, signal, again = false } = {}) {
    let renewed = false;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#askOnce(method, path, body, headers, signal);
      } catch (error) {
        const problem = /** @type {Problem} */ (error);
        if (signal?.aborted) throw signal.reason;
        if (problem.status === 401 && this.renewable && !renewed) {
          renewed = true;
          continue;
        }
        if (!again || attempt >= TRIES || !(problem instanceof Problem && problem.temporary)) throw problem;
        const ms = problem.retryAfterS === null ? PAUSE_MS * 2 ** (attempt - 1) : 1000 * problem.retryAfterS;
        await pause(ms * (1 + Math.random() / 10), signal ?? new AbortController().signal);
      }
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @param {Record<string, string>} headers
   * @param {AbortSignal | undefined} signal
   */
  async #askOnce(method, path, body, headers, signal) {
    const said = body === undefined ? {} : { "content-type": "application/json" };
    const shown = { accept: "application/json", ...said, ...headers, ...(await this.headers()) };
    /** @type {Response} */
    let response;
    try {
      const text = body === undefined ? undefined : JSON.stringify(body);
      response = await this.fetch(this.address(path), { method, headers: shown, body: text, signal, cache: "no-store" });
    } catch (error) {
      throw unreachable(error);
    }
    if (!response.ok) throw await problemOf(response);
    return response.status === 204 ? null : response.json();
  }
}

/**
 * The events of one task, without a client of one's own.
 * @param {string} taskId
 * @param {ClientOptions & import("./watching.js").WatchOptions} [options]
 */
export function watch(taskId, { baseUrl, token, fetch, ...options } = {}) {
  return new Client({ baseUrl, token, fetch }).watch(taskId, options);
}

/**
 * `{timeoutS: 5}` is `{timeout_s: 5}` to the server; what is undefined is left out.
 * @param {Record<string, unknown>} options
 */
function fields(options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [snake(name), value]));
}

/** @param {string} name */
function snake(name) {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * @param {Record<string, unknown> | [string, unknown][]} query names as the server has them; several values are an array
 * @returns {string} with its question mark, if there is anything
 */
function search(query) {
  const given = (Array.isArray(query) ? query : Object.entries(query)).filter(([, value]) => value !== undefined && value !== null);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** A key that nobody else has; `crypto.randomUUID` is for secure pages only. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
