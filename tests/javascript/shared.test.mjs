// Tabs that share, in one process: locks and channels are the test's own, and lose what the test wants.

import assert from "node:assert/strict";
import test, { afterEach, beforeEach } from "node:test";

import { Client, shared } from "../../streaming/web/page/client.js";
import { QUICK, Server, refuse, stream } from "./server.mjs";

const A = "a".repeat(32);
const B = "b".repeat(32);

/** Web Locks as far as they are used: exclusive, first come first served. */
class Locks {
  #queues = new Map();

  request(name, { signal }, doing) {
    const before = this.#queues.get(name) ?? Promise.resolve();
    const turn = before.then(() => {
      if (signal.aborted) throw signal.reason;
      return doing();
    });
    this.#queues.set(name, turn.then(() => {}, () => {}));
    return turn;
  }
}

/** A channel between objects of one process; `lose` says which messages get lost. */
class Channel {
  static all = new Set();
  static lose = () => false;

  constructor(name) {
    this.name = name;
    Channel.all.add(this);
  }

  postMessage(message) {
    const copy = structuredClone(message);
    for (const other of Channel.all) {
      if (other !== this && other.name === this.name && !Channel.lose(message)) {
        setTimeout(() => Channel.all.has(other) && other.onmessage({ data: copy }), 0);
      }
    }
  }

  close() {
    Channel.all.delete(this);
  }
}

const before = { navigator: Object.getOwnPropertyDescriptor(globalThis, "navigator"), channel: globalThis.BroadcastChannel };

beforeEach(() => {
  Object.defineProperty(globalThis, "navigator", { value: { locks: new Locks() }, configurable: true });
  globalThis.BroadcastChannel = Channel;
  Channel.lose = () => false;
});

afterEach(() => {
  if (before.navigator) Object.defineProperty(globalThis, "navigator", before.navigator);
  else delete globalThis.navigator;
  globalThis.BroadcastChannel = before.channel;
});

const of = (task_id, seq) => ({ seq, task_id, type: "tick", time: "", data: {} });
const line = (id, event, data) => `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

/** A server whose feed has positions 11 to 14, and the log of A seqs 1 to 4: one after the other, as they are let go. */
class Site {
  requests = [];
  head = { feed: 10, log: 0 };
  #open = new Set();

  /** Let one more event happen in each channel. */
  go() {
    this.head = { feed: this.head.feed + 1, log: this.head.log + 1 };
    this.#open.forEach((send) => send());
  }

  fetch = async (url, { headers, signal }) => {
    const query = new URL(url, "http://x").searchParams;
    const cursor = headers["last-event-id"] ?? "";
    this.requests.push(cursor);
    const at = { feed: Number(/f=(\d+)/.exec(cursor)?.[1] ?? this.head.feed), log: Number(/:(\d+)/.exec(cursor)?.[1] ?? 0) };
    const wants = { feed: query.has("feed"), log: query.has("log") };
    const place = () => [...(wants.feed ? [`f=${at.feed}`] : []), ...(wants.log ? [`l=${A}:${at.log}`] : [])].join(";");
    let controller;
    const send = () => {
      const write = (text) => controller.enqueue(new TextEncoder().encode(text));
      while (wants.feed && at.feed < this.head.feed) {
        at.feed += 1;
        write(line(place(), "feed", of(B, at.feed)));
      }
      while (wants.log && at.log < this.head.log) {
        at.log += 1;
        write(line(place(), "log", of(A, at.log)));
      }
    };
    const body = new ReadableStream({
      start: (made) => {
        controller = made;
        controller.enqueue(new TextEncoder().encode(QUICK + line(place(), "cursor", { feed: null, logs: {} })));
        send();
      },
    });
    this.#open.add(send);
    signal.addEventListener("abort", () => {
      this.#open.delete(send);
      controller.error(signal.reason);
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  };
}

/** A tab, and what it was told. */
async function tab(site, options = { feed: true, logs: [A] }) {
  const seen = [];
  const states = [];
  const onEvent = (item) => seen.push(item.kind === "missing" ? "missing" : `${item.channel} ${item.event.seq}`);
  const connection = shared(new Client({ fetch: site.fetch }), "tests", { ...options, onEvent, onState: (s) => states.push(s) });
  await until(() => states.some(({ state }) => state === "open" || state === "closed"));
  return { connection, seen, states, of: (channel) => seen.filter((each) => each.startsWith(channel)).map((each) => Number(each.slice(4))) };
}

async function until(condition) {
  const began = performance.now();
  while (!condition()) {
    assert.ok(performance.now() - began < 5000, `it did not come to ${condition}`);
    await new Promise((done) => setTimeout(done, 5));
  }
}

async function end(...tabs) {
  for (const { connection } of tabs) {
    connection.close();
    await connection.closed;
  }
}

for (const lost of ["feed", "log"]) {
  test(`an event of the ${lost} that got lost between tabs is read again`, async () => {
    const site = new Site();
    const leader = await tab(site);
    const follower = await tab(site);
    await until(() => site.requests.length >= 1);
    await new Promise((done) => setTimeout(done, 1100)); // what it has said of itself is long ago
    const requests = site.requests.length;
    Channel.lose = ({ word, item }) => word === "item" && item.channel === lost;
    site.go();
    await until(() => leader.seen.length === 2);
    await new Promise((done) => setTimeout(done, 20));
    Channel.lose = () => false;
    site.go();
    await until(() => follower.seen.length === 4);
    for (const each of [leader, follower]) {
      assert.deepEqual(each.of("feed"), [11, 12]);
      assert.deepEqual(each.of("log "), [1, 2]);
    }
    assert.ok(follower.connection.stats.holes >= 1);
    assert.equal(site.requests.length, requests + 1);
    assert.deepEqual([leader.connection.role, follower.connection.role], ["leader", "follower"]);
    await end(leader, follower);
  });
}

test("a leader that leaves is followed by another one, from the place of each tab", async () => {
  const site = new Site();
  const first = await tab(site);
  const others = [await tab(site), await tab(site)];
  site.go();
  await until(() => others.every(({ seen }) => seen.length === 2));
  Channel.lose = ({ word }) => word === "item"; // the last words of the leader reach nobody
  site.go();
  await until(() => first.seen.length === 4);
  await end(first);
  Channel.lose = () => false;
  site.go();
  await until(() => others.every(({ seen }) => seen.length === 6));
  for (const each of others) {
    assert.deepEqual(each.of("feed"), [11, 12, 13]);
    assert.deepEqual(each.of("log "), [1, 2, 3]);
  }
  assert.equal(others.filter(({ connection }) => connection.role === "leader").length, 1);
  await end(...others);
});

test("who joins later, with an older place, is read to from there, and nobody else hears it twice", async () => {
  const site = new Site();
  const first = await tab(site, { logs: [A] });
  for (let n = 0; n < 3; n += 1) site.go();
  await until(() => first.seen.length === 3);
  const late = await tab(site, { logs: { [A]: 1 } });
  await until(() => late.seen.length === 2);
  assert.deepEqual(late.of("log "), [2, 3]);
  site.go();
  await until(() => first.seen.length === 4 && late.seen.length === 3);
  assert.deepEqual([first.of("log "), late.of("log ")], [[1, 2, 3, 4], [2, 3, 4]]);
  await end(first, late);
});

test("too many logs are missing for who asks for one too many", async () => {
  const site = new Site();
  const first = await tab(site, { logs: [A], logsMax: 1 });
  const second = await tab(site, { logs: [B], logsMax: 1 });
  await until(() => second.seen.includes("missing"));
  assert.deepEqual(first.seen, []);
  await end(first, second);
});

test("a leader that is refused for good makes room for the next one", async () => {
  const site = new Site();
  const refused = await tab({ fetch: new Server().answer(refuse(403, "forbidden")).fetch });
  await refused.connection.closed;
  assert.equal(refused.connection.state.problem.code, "forbidden");
  const next = await tab(site);
  assert.equal(next.connection.role, "leader");
  site.go();
  await until(() => next.seen.length === 2);
  await end(next);
});

test("without locks there is a connection for each", async () => {
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  const site = new Site();
  const tabs = [await tab(site), await tab(site)];
  assert.equal(site.requests.length, 2);
  assert.deepEqual(tabs.map(({ connection }) => connection.role), ["alone", "alone"]);
  site.go();
  await until(() => tabs.every(({ seen }) => seen.length === 2));
  tabs[0].connection.removeLog(A);
  tabs[0].connection.addLog(A, 0);
  await until(() => tabs[0].of("log ").length === 2);
  await end(...tabs);
});

test("a stream that is aborted by its signal is closed", async () => {
  const leaving = new AbortController();
  const one = await tab(new Site(), { feed: true, signal: leaving.signal });
  leaving.abort();
  await one.connection.closed;
  assert.equal(one.states.at(-1).state, "closed");
  const never = shared(new Client({ fetch: stream([]) }), "tests", { feed: true, signal: AbortSignal.abort() });
  await never.closed;
});
