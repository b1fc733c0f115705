/**
 * Reading a stream that goes on through lost connections, restarts of the server and closed lids.
 *
 * Owns:  when to connect, how long to wait, when a connection counts as dead.
 * Uses:  sse.js (bytes), problem.js (refusals), surroundings.js (network, window).
 * Never: knows what a block means: whoever reads says from where to go on.
 */

import { Problem, problemOf, unreachable } from "./problem.js";
import { Parser } from "./sse.js";
import { offline, onReturn, pause } from "./surroundings.js";

/** What a server says at least so often, if nobody has set it otherwise (STREAMING_KEEPALIVE_S). */
export const KEEPALIVE_S = 15;

/** So many times the keepalive may pass without a byte. */
const DEAD_AFTER = 2.5;

/** No pause is longer, unless the server asks for it. */
const PAUSE_MAX_MS = 30_000;

/** Why a connection is given up by us: not because anything is wrong with it. */
const AGAIN = Symbol("again");

/** The blocks of `GET /watch`; an EventSource must be told them. */
const WORDS = ["cursor", "feed", "log", "end", "lost"];

/** @typedef {import("./sse.js").Block} Block */

/**
 * What is said of a connection.
 * @typedef {object} State
 * @property {"idle" | "connecting" | "open" | "waiting" | "closed"} state
 * @property {number} attempt how many tries have failed since the last event
 * @property {number | null} seconds of a pause; null as long as there is no network
 * @property {Problem | null} problem why it waits, or why it was closed
 */

/**
 * @typedef {object} Request
 * @property {string} url
 * @property {Record<string, string>} [headers]
 * @property {number | null} [goodForMs] after so long ask with another one
 */

/**
 * @typedef {object} Options
 * @property {() => Promise<Request>} request made anew for each connection
 * @property {AbortSignal} signal
 * @property {() => boolean} [wanted] whether to come back after an end of the stream
 * @property {(state: State) => void} [onState]
 * @property {typeof globalThis.fetch} [fetch]
 * @property {"fetch" | "eventsource"} [transport]
 * @property {boolean} [renewable] whether another request may have a better credential
 * @property {number} [keepaliveS]
 * @property {() => number} [random] from 0 to 1
 */

/**
 * How long to wait before the next try.
 * @param {object} facts
 * @param {number} facts.attempt how many tries have failed; 1 for the first
 * @param {number} facts.retryMs what the server said
 * @param {number | null} facts.retryAfterS what it said with a refusal
 * @param {number} facts.random from 0 to 1
 */
export function pauseMs({ attempt, retryMs, retryAfterS, random }) {
  const most = Math.min(PAUSE_MAX_MS, retryMs * 2 ** Math.min(attempt - 1, 20));
  const jittered = most * (0.5 + random / 2); // a crowd that was cut off together does not come back together
  return retryAfterS === null ? jittered : Math.max(jittered, 1000 * retryAfterS * (1 + random / 10));
}

/** One stream, however many connections it takes. */
export class Reading {
  /** Connections that have been opened. */
  opened = 0;

  /** @type {Required<Options>} */
  #options;
  #retryMs = 2000;
  #attempt = 0;
  #refused = 0; // credentials, one after the other
  #over = false;
  /** Of the connection, or of the pause, whichever it is now. */
  #present = new AbortController();
  #heardAt = 0;

  /** @param {Options} options */
  constructor(options) {
    this.#options = {
      wanted: () => true,
      onState: () => {},
      fetch: globalThis.fetch,
      transport: "fetch",
      renewable: false,
      keepaliveS: KEEPALIVE_S,
      random: Math.random,
      ...options,
    };
  }

  /** Whether the server has said that nothing follows (204). */
  get over() {
    return this.#over;
  }

  /** Come back with another request, at once: what is wanted has changed, or what came was not what follows. */
  again() {
    this.#present.abort(AGAIN);
  }

  /**
   * The blocks; it ends when nothing follows any more.
   * @returns {AsyncGenerator<Block, void, void>}
   * @throws {Problem} if the server refuses for good
   */
  async *blocks() {
    const { signal, wanted } = this.#options;
    this.#over = false;
    const stop = () => this.#present.abort(signal.reason);
    const unhear = onReturn((why) => this.#returned(why));
    signal.addEventListener("abort", stop);
    try {
      while (!this.#over) {
        signal.throwIfAborted();
        this.#present = new AbortController();
        const failure = yield* this.#connection();
        signal.throwIfAborted();
        if (this.#over || !wanted()) return;
        if (failure !== AGAIN) await this.#wait(failure);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      unhear();
    }
  }

  /**
   * One connection to its end.
   * @returns {AsyncGenerator<Block, Problem | typeof AGAIN | null, void>} why it ended; null for a clean end
   */
  async *#connection() {
    this.#say("connecting");
    try {
      yield* this.#options.transport === "fetch" ? this.#byFetch() : this.#byEventSource();
    } catch (error) {
      const { signal, reason } = this.#present.signal.aborted
        ? { signal: true, reason: this.#present.signal.reason }
        : { signal: false, reason: error };
      if (signal && reason === AGAIN) return AGAIN;
      if (this.#options.signal.aborted) throw this.#options.signal.reason;
      const problem = reason instanceof Problem ? reason : unreachable(reason);
      if (problem.status === 401 && this.#options.renewable && this.#refused === 0) {
        this.#refused += 1;
        return AGAIN;
      }
      if (!problem.temporary) throw problem;
      return problem;
    }
    return this.#present.signal.reason === AGAIN ? AGAIN : null;
  }

  /** @returns {AsyncGenerator<Block, void, void>} */
  async *#byFetch() {
    const present = this.#present;
    const quiet = new Silence(1000 * DEAD_AFTER * this.#options.keepaliveS, () =>
      present.abort(new Problem({ code: "silence", detail: "The connection is dead: not even a keepalive came." })),
    );
    /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
    let reader;
    try {
      quiet.begin();
      const { url, headers } = await this.#options.request();
      const { fetch } = this.#options;
      const response = await fetch(url, {
        headers: { accept: "text/event-stream", ...headers },
        signal: present.signal,
        cache: "no-store",
      });
      if (!(await this.#begins(response))) return;
      const parser = new Parser();
      reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      while (!present.signal.aborted) {
        quiet.begin();
        const { done, value } = await reader.read();
        quiet.end();
        if (done) return;
        this.#heardAt = performance.now();
        const blocks = parser.push(value);
        this.#retryMs = parser.retryMs ?? this.#retryMs;
        yield* this.#each(blocks, present.signal);
      }
      throw present.signal.reason;
    } finally {
      quiet.end();
      // One that is broken has nothing to cancel, and says so.
      await reader?.cancel().catch(() => {});
    }
  }

  /**
   * @param {Block[]} blocks
   * @param {AbortSignal} signal of their connection
   */
  async *#each(blocks, signal) {
    for (const block of blocks) {
      if (signal.aborted) return; // whoever reads wants to go on from elsewhere
      this.#attempt = 0;
      yield block;
    }
  }

  /**
   * Whether an answer is a stream.
   * @param {Response} response
   */
  async #begins(response) {
    if (response.status === 204) {
      this.#over = true;
      return false;
    }
    if (!response.ok) throw await problemOf(response);
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      await response.body?.cancel();
      throw new Problem({ code: "unexpected_answer", status: 502, detail: "The answer is no stream of events." });
    }
    this.#open();
    return true;
  }

  #open() {
    this.opened += 1;
    this.#refused = 0;
    this.#heardAt = performance.now();
    this.#say("open");
  }

  // -- EventSource ---------------------------------------------------------------------------------------------------

  /** @returns {AsyncGenerator<Block, void, void>} */
  async *#byEventSource() {
    const present = this.#present;
    const { url, goodForMs } = await this.#options.request();
    if (present.signal.aborted) throw present.signal.reason;
    const source = new globalThis.EventSource(url);
    /** @type {Block[]} */
    let arrived = [];
    let news = deferred();
    const tell = () => news.resolve(undefined);
    for (const word of WORDS) {
      source.addEventListener(word, (event) => {
        arrived.push({ id: event.lastEventId, event: word, data: event.data });
        tell();
      });
    }
    let failed = false;
    source.onopen = () => this.#open();
    source.onerror = () => {
      failed = true;
      tell();
    };
    present.signal.addEventListener("abort", tell);
    const timer = goodForMs == null ? undefined : setTimeout(() => present.abort(AGAIN), goodForMs);
    try {
      for (;;) {
        await news.promise;
        news = deferred();
        const blocks = arrived;
        arrived = [];
        yield* this.#each(blocks, present.signal);
        if (present.signal.aborted) throw present.signal.reason;
        if (failed && arrived.length === 0) break;
      }
    } finally {
      clearTimeout(timer);
      source.close();
    }
    await this.#probe(url, present.signal);
  }

  /**
   * An EventSource does not tell why it has failed: ask once more, and look.
   * @param {string} url
   * @param {AbortSignal} signal
   */
  async #probe(url, signal) {
    const looking = new AbortController();
    const stop = () => looking.abort(signal.reason);
    signal.addEventListener("abort", stop);
    try {
      const { fetch } = this.#options;
      const response = await fetch(url, { headers: { accept: "text/event-stream" }, signal: looking.signal });
      if (response.status === 204) this.#over = true;
      else if (!response.ok) throw await problemOf(response);
    } finally {
      signal.removeEventListener("abort", stop);
      looking.abort();
    }
  }

  // -- pauses --------------------------------------------------------------------------------------------------------

  /** @param {Problem | null} failure */
  async #wait(failure) {
    this.#attempt += 1;
    const present = (this.#present = new AbortController());
    if (this.#options.signal.aborted) return;
    const ms = pauseMs({
      attempt: this.#attempt,
      retryMs: this.#retryMs,
      retryAfterS: failure?.retryAfterS ?? null,
      random: this.#options.random(),
    });
    this.#say("waiting", offline() ? null : ms / 1000, failure);
    await pause(offline() ? null : ms, present.signal);
  }

  /**
   * The network is back, or somebody looks at the page again: a pause is over, and a connection has to show that it lives.
   * @param {"online" | "visible"} why
   */
  #returned(why) {
    const silentMs = performance.now() - this.#heardAt;
    if (this.#state !== "open" || why === "online" || silentMs > 1000 * DEAD_AFTER * this.#options.keepaliveS) {
      if (this.#state !== "connecting") this.again();
    }
  }

  #state = "connecting";

  /**
   * @param {State["state"]} state
   * @param {number | null} seconds
   * @param {Problem | null} problem
   */
  #say(state, seconds = null, problem = null) {
    this.#state = state;
    this.#options.onState({ state, attempt: this.#attempt, seconds, problem });
  }
}

/** A timer that is begun and ended around each wait for bytes. */
class Silence {
  /**
   * @param {number} ms
   * @param {() => void} over
   */
  constructor(ms, over) {
    this.ms = ms;
    this.over = over;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  begin() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.over, this.ms);
  }

  end() {
    clearTimeout(this.timer);
  }
}

function deferred() {
  /** @type {(value: unknown) => void} */
  let resolve = () => {};
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
