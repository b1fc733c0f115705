/**
 * One connection for all tabs of a browser.
 *
 * The tabs elect a leader by a lock: the browser takes it from a tab that is closed or has crashed, and gives it to the
 * next one. The leader has the connection, for what all of them want together, and tells them what comes.
 *
 * Rules of this file:
 *
 * - Each tab has its own place, and takes only what follows it. So nobody has to trust in what was told: whatever is
 *   lost, repeated or told by two leaders, a tab that sees a hole says where it stands, and is read to from there.
 * - What a tab wants is told by the tab, whole, whenever it changes and whenever there is a new leader.
 *
 * Owns:  who leads, what everybody wants, the place of this tab.
 * Uses:  connection.js (the connection of the leader, or of each tab where there are no locks or channels).
 * Never: tells a tab what its own request would not.
 */

import { call } from "./connection.js";
import { Order } from "./order.js";
import { Problem } from "./problem.js";
import { pause } from "./surroundings.js";

/** A new leader waits so long for the others to say what they want, before it connects. */
const GATHER_MS = 50;

/** After a tab has said where it stands, it does not say so again for this time. */
const QUIET_MS = 1000;

/** @typedef {import("./connection.js").Item} Item */
/** @typedef {import("./connection.js").ConnectionOptions} ConnectionOptions */
/**
 * What a tab wants, and which of it is to be read to it from its place: what is new, and where it has seen a hole.
 * @typedef {{tab: string, feed: boolean, logs: string[], fromFeed: {at: number | null} | null, from: [string, number][]}} Wish
 */

/**
 * Share a connection with all other tabs that use this name, this server and these filters of the feed.
 * Tabs that call as different principals need different names.
 * @param {import("./client.js").Client} client
 * @param {string} name
 * @param {ConnectionOptions} [options]
 */
export function shared(client, name, options = {}) {
  return new Shared(client, name, options);
}

export class Shared {
  /** "alone": there is nothing to share by, and the tab has a connection of its own. @type {"leader" | "follower" | "alone"} */
  role = "follower";

  stats = { events: 0, gaps: 0, holes: 0, takeovers: 0 };

  #client;
  #options;
  #key;
  #tab = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  #feed;
  /** @type {number | null} */
  #feedAt = null;
  /** @type {Map<string, Order>} */
  #logs = new Map();
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {import("./connection.js").Connection | null} */
  #connection = null;
  /** What each of the other tabs wants. @type {Map<string, Wish>} */
  #wishes = new Map();
  #closing = new AbortController();
  /** The logs to be read from our place, and whether the feed is. @type {Set<string>} */
  #behind = new Set();
  #behindInFeed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #quiet = undefined;
  #telling = false;
  /** @type {import("./reading.js").State} */
  #state = { state: "connecting", attempt: 0, seconds: null, problem: null };

  /**
   * @param {import("./client.js").Client} client
   * @param {string} name
   * @param {ConnectionOptions} options
   */
  constructor(client, name, options) {
    const { feed = false, types, taskTypes, tag, logs = [], signal } = options;
    this.#client = client;
    this.#options = { onEvent: () => {}, onState: () => {}, ...options };
    this.#key = `streaming ${JSON.stringify([client.baseUrl, name, types ?? [], taskTypes ?? [], tag ?? ""])}`;
    this.#feed = this.#behindInFeed = feed;
    const wanted = Symbol.iterator in logs ? [...logs].map((id) => [id, 0]) : Object.entries(logs);
    for (const [id, seq] of wanted) this.#follow(id, seq);
    if (signal?.aborted) this.#closing.abort();
    signal?.addEventListener("abort", () => this.close(), { signal: this.#closing.signal });
    /** Fulfilled once it is closed, by whomever. @type {Promise<void>} */
    this.closed = canShare() ? this.#join() : this.#stayAlone();
  }

  /**
   * Follow the log of a task.
   * @param {string} id
   * @param {number | null} [after] seq of the last event that was seen; without it from the beginning, or as it is
   */
  addLog(id, after = null) {
    const known = this.#logs.get(id);
    if (known !== undefined && (after === null || known.last <= after)) return;
    this.#follow(id, after ?? 0);
    if (this.role === "alone") this.#connection?.addLog(id, after ?? 0);
    else this.#want();
  }

  /** @param {string} id */
  removeLog(id) {
    if (!this.#logs.delete(id)) return;
    if (this.role === "alone") this.#connection?.removeLog(id);
    else this.#want();
  }

  /**
   * @param {string} id
   * @param {number} after
   */
  #follow(id, after) {
    this.#logs.set(id, new Order(after));
    this.#behind.add(id);
  }

  /** What was said last of the connection. */
  get state() {
    return this.#state;
  }

  close() {
    this.#closing.abort();
  }

  // -- life ----------------------------------------------------------------------------------------------------------

  async #stayAlone() {
    this.role = "alone";
    this.#connect();
    await this.#leadUntilClosed();
  }

  async #join() {
    const { locks } = globalThis.navigator;
    const { signal } = this.#closing;
    this.#channel = new BroadcastChannel(this.#key);
    this.#channel.onmessage = (message) => this.#hear(message.data);
    try {
      // The others learn from this lock that the tab is there no more.
      await locks.request(this.#lockOf(this.#tab), { signal }, async () => {
        this.#want();
        await locks.request(`${this.#key} leader`, { signal }, () => this.#lead());
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      clearTimeout(this.#quiet);
      this.#channel.close();
      this.#channel = null;
      if (this.#state.state !== "closed") this.#say({ state: "closed", attempt: 0, seconds: null, problem: null });
    }
  }

  async #lead() {
    const { signal } = this.#closing;
    this.role = "leader";
    this.stats.takeovers += 1;
    this.#tell({ word: "lead" });
    await pause(GATHER_MS, signal);
    if (signal.aborted) return;
    this.#connect();
    for (const wish of [...this.#wishes.values()]) this.#grant(wish);
    await this.#leadUntilClosed();
  }

  #connect() {
    const after = this.#feedAt === null ? null : `f=${this.#feedAt}`;
    this.#connection = this.#client.connect({
      ...this.#options,
      signal: undefined,
      feed: this.#feed,
      logs: Object.fromEntries([...this.#logs].map(([id, order]) => [id, order.last])),
      after,
      onEvent: (item) => this.#pass(item),
      onState: (state) => this.#passState(state),
      onPlace: (position) => this.#passPlace(position),
    });
  }

  async #leadUntilClosed() {
    const connection = /** @type {import("./connection.js").Connection} */ (this.#connection);
    const { signal } = this.#closing;
    const stop = () => connection.close();
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
    await connection.closed;
    this.#say(connection.state);
    this.#closing.abort(); // refused for good: another tab may have a better credential
  }

  // -- the leader ----------------------------------------------------------------------------------------------------

  /** @param {Item} item */
  #pass(item) {
    this.#tell({ word: "item", item: item.problem ? { ...item, problem: plain(item.problem) } : item });
    this.#take(item);
  }

  /** @param {import("./reading.js").State} state */
  #passState(state) {
    if (state.state === "closed") return; // of this connection; the next leader has another one
    this.#tell({ word: "state", state: { ...state, problem: state.problem && plain(state.problem) } });
    this.#say(state);
  }

  /** @param {number | null} position */
  #passPlace(position) {
    this.#tell({ word: "place", position });
    this.#stand(position);
  }

  /**
   * A tab has said what it wants, and from where: read it to them.
   * @param {Wish} wish
   */
  #grant(wish) {
    const connection = this.#connection;
    if (connection === null) return;
    if (wish.fromFeed !== null) connection.followFeed(wish.fromFeed.at);
    for (const [id, seq] of wish.from) {
      try {
        connection.addLog(id, seq);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        const problem = new Problem({ code: "too_many_logs", detail: error.message });
        this.#pass({ kind: "missing", channel: "log", taskId: id, problem });
      }
    }
    this.#tidy();
    if (wish.tab === this.#tab) return;
    if (connection.position !== null) this.#tell({ word: "place", position: connection.position });
    const { problem, ...state } = connection.state;
    this.#tell({ word: "state", to: wish.tab, state: { ...state, problem: problem && plain(problem) } });
  }

  /** Nobody reads what nobody wants. */
  #tidy() {
    const connection = /** @type {import("./connection.js").Connection} */ (this.#connection);
    const others = [...this.#wishes.values()];
    if (!this.#feed && !others.some((wish) => wish.feed)) connection.leaveFeed();
    const wanted = new Set([...this.#logs.keys(), ...others.flatMap((wish) => wish.logs)]);
    for (const id of connection.logs) if (!wanted.has(id)) connection.removeLog(id);
  }

  /** @param {Wish} wish */
  #note(wish) {
    if (this.role !== "leader") return; // the next one asks anew
    const known = this.#wishes.get(wish.tab);
    if (known !== undefined && this.#connection === null) {
      // Nothing of the one before was granted yet.
      wish = { ...wish, fromFeed: wish.fromFeed ?? known.fromFeed, from: [...known.from, ...wish.from] };
    }
    this.#wishes.set(wish.tab, wish);
    this.#grant(wish);
    if (known === undefined) this.#awaitEnd(wish.tab);
  }

  /** @param {string} tab */
  #awaitEnd(tab) {
    const { signal } = this.#closing;
    const { locks } = globalThis.navigator;
    locks
      .request(this.#lockOf(tab), { signal }, () => {
        this.#wishes.delete(tab);
        if (this.#connection !== null && !signal.aborted) this.#tidy();
      })
      .catch((error) => {
        if (!signal.aborted) throw error;
      });
  }

  // -- each tab ------------------------------------------------------------------------------------------------------

  /** @returns {Wish} */
  #wish() {
    /** @type {[string, number][]} */
    const from = [];
    for (const [id, order] of this.#logs) if (this.#behind.has(id)) from.push([id, order.last]);
    const fromFeed = this.#behindInFeed ? { at: this.#feedAt } : null;
    this.#behind.clear();
    this.#behindInFeed = false;
    return { tab: this.#tab, feed: this.#feed, logs: [...this.#logs.keys()], fromFeed, from };
  }

  /** There is a new leader, who knows nothing of this tab. */
  #introduce() {
    for (const id of this.#logs.keys()) this.#behind.add(id);
    this.#behindInFeed = this.#feed;
    this.#want();
  }

  /** Say what this tab wants, once for all that changes in this moment. */
  #want() {
    if (this.#telling) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      if (this.#closing.signal.aborted) return;
      this.#quietly();
      if (this.role === "leader") this.#grant(this.#wish());
      else this.#tell({ word: "wish", wish: this.#wish() });
    });
  }

  /** @param {any} message */
  #hear(message) {
    if (this.#closing.signal.aborted) return;
    if (message.word === "wish") this.#note(message.wish);
    else if (this.role === "leader" || (message.to ?? this.#tab) !== this.#tab) return;
    else if (message.word === "lead") this.#introduce();
    else if (message.word === "item") this.#take(revived(message.item));
    else if (message.word === "place") this.#stand(message.position);
    else if (message.word === "state") this.#say(revived(message.state));
  }

  /** @param {any} message */
  #tell(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {number | null} position where in the feed "from now on" is */
  #stand(position) {
    if (this.#feed) this.#feedAt ??= position;
  }

  /** @param {Item} item */
  #take(item) {
    const ofFeed = item.channel === "feed";
    const fits = ofFeed ? this.#fitsFeed(item) : this.#fitsLog(item);
    if (fits === "hole") this.#complain(ofFeed ? null : item.taskId);
    if (fits !== "next") return;
    if (item.kind === "event" || item.kind === "gap") this.stats.events += 1;
    if (item.kind === "gap") this.stats.gaps += 1;
    call(this.#options.onEvent, item);
  }

  /** @param {Item} item @returns {"next" | "old" | "hole"} */
  #fitsFeed({ position = 0, before = 0 }) {
    if (!this.#feed || this.#feedAt === null || position <= this.#feedAt) return "old";
    if (before > this.#feedAt) return "hole";
    this.#feedAt = position;
    return "next";
  }

  /** @param {Item} item @returns {"next" | "old" | "hole"} */
  #fitsLog(item) {
    const order = this.#logs.get(item.taskId);
    if (order === undefined) return "old";
    if (item.event !== undefined) {
      const place = order.look(item.event);
      if (place === "next") order.last = item.event.seq;
      return place;
    }
    if (item.kind === "end" && (item.seq ?? 0) > order.last) return "hole";
    this.#logs.delete(item.taskId);
    if (this.role !== "alone") this.#want();
    return "next";
  }

  /**
   * What has come is not what follows: say where this tab stands, unless it has just said so.
   * @param {string | null} id of the log; null for the feed
   */
  #complain(id) {
    this.stats.holes += 1;
    if (id === null) this.#behindInFeed = true;
    else this.#behind.add(id);
    if (this.#quiet === undefined) this.#want();
  }

  /** It takes the leader a moment to read from there: until then holes are no news. */
  #quietly() {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => {
      this.#quiet = undefined;
      if (this.#behindInFeed || this.#behind.size > 0) this.#want();
    }, QUIET_MS);
  }

  /** @param {import("./reading.js").State} state */
  #say(state) {
    this.#state = state;
    call(this.#options.onState, state);
  }

  /** @param {string} tab */
  #lockOf(tab) {
    return `${this.#key} tab ${tab}`;
  }
}

function canShare() {
  return globalThis.navigator?.locks !== undefined && globalThis.BroadcastChannel !== undefined;
}

/** @param {Problem} problem as it goes from tab to tab */
function plain({ code, status, detail, errors, retryAfterS }) {
  return { code, status, detail, errors, retryAfterS };
}

/** @param {any} message */
function revived(message) {
  return message.problem ? { ...message, problem: new Problem(message.problem) } : message;
}
