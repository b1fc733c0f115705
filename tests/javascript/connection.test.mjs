// One connection for many channels, over a server that the test plays.

import assert from "node:assert/strict";
import test from "node:test";

import { Client } from "../../streaming/web/page/client.js";
import { QUICK, Server, nothing, refuse, stream } from "./server.mjs";

const A = "a".repeat(32);
const B = "b".repeat(32);

const line = (id, event, data) => `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
const of = (task_id, seq, type = "tick", data = {}) => ({ seq, task_id, type, time: "", data });
const begin = (feed, logs) => line(place(feed, logs), "cursor", { feed, logs });
const place = (feed, logs) => [...(feed === null ? [] : [`f=${feed}`]), ...Object.entries(logs).map(([id, seq]) => `l=${id}:${seq}`)].join(";");

/** A connection, and what it gives: waits for so many items, or for a state. */
function connected(server, options) {
  const items = [];
  const states = [];
  const waiting = new Set();
  const look = () => waiting.forEach((each) => each());
  const connection = new Client({ fetch: server.fetch }).connect({
    ...options,
    onEvent: (item) => (items.push(item), look()),
    onState: (state) => (states.push(state), look()),
  });
  const until = (condition) =>
    new Promise((resolve) => {
      const each = () => condition() && (waiting.delete(each), resolve());
      waiting.add(each);
      each();
    });
  return { connection, items, states, until };
}

test("a place moves with what was given, and with what is not for us", async () => {
  const server = new Server().answer(
    stream([QUICK, begin(10, { [A]: 0 }), line(place(10, { [A]: 1 }), "log", of(A, 1)), line(place(17, { [A]: 2 }), "log", of(A, 2)), line(place(20, { [A]: 2 }), "feed", of(B, 7))], { end: false }),
  );
  const { connection, items, until } = connected(server, { feed: true, types: ["a", "b"], tag: "x", logs: [A] });
  await until(() => items.length === 3);
  assert.equal(connection.cursor, `f=20;l=${A}:2`);
  assert.deepEqual(items.map(({ channel, position, before }) => [channel, position, before]), [["log", undefined, undefined], ["log", undefined, undefined], ["feed", 20, 10]]);
  const url = new URL(server.requests[0].url, "http://x");
  assert.deepEqual(Object.fromEntries(url.searchParams), { feed: "1", type: "a,b", tag: "x", log: A });
  connection.close();
  await connection.closed;
  assert.equal(connection.state.state, "closed");
});

test("what was on its way when the set changed is read again", async () => {
  const server = new Server().answer(
    stream([QUICK, begin(10, {}), line("f=11", "feed", of(A, 1)), line("f=12", "feed", of(A, 2))], { end: false }),
    stream([begin(11, { [B]: 0 }), line(place(12, { [B]: 0 }), "feed", of(A, 2)), line(place(12, { [B]: 1 }), "log", of(B, 1))], { end: false }),
  );
  const { connection, items, until } = connected(server, { feed: true });
  await until(() => items.length === 1);
  connection.addLog(B); // in the middle of the first piece
  await until(() => items.length >= 3);
  assert.deepEqual(items.map(({ channel, event }) => `${channel} ${event.seq}`), ["feed 1", "feed 2", "log 1"]);
  assert.equal(server.requests[1].cursor, `f=11;l=${B}:0`);
  assert.deepEqual([connection.stats.changes, connection.stats.reconnects, connection.stats.repeated], [1, 0, 0]);
  connection.close();
});

test("what follows in the same piece is not taken for what was asked for anew", async () => {
  const rest = [11, 12, 13].map((position) => line(`f=${position}`, "feed", of(A, position)));
  const server = new Server().answer(
    stream([QUICK + begin(10, {}) + rest.join("")], { end: false }),
    stream([begin(10, {}) + rest.join("")], { end: false }),
  );
  const positions = [];
  let connection;
  const all = new Promise((resolve) => {
    connection = new Client({ fetch: server.fetch }).connect({
      feed: true,
      onEvent: ({ position }) => {
        positions.push(position);
        if (positions.length === 2) connection.followFeed(10);
        if (position === 13) resolve();
      },
    });
  });
  await all;
  connection.close();
  assert.deepEqual(positions, [11, 12, 11, 12, 13]);
  assert.equal(server.requests[1].cursor, "f=10");
});

test("what is repeated is dropped, and a hole is read again", async () => {
  const server = new Server().answer(
    stream([QUICK, begin(1, { [A]: 0 }), line(place(1, { [A]: 1 }), "log", of(A, 1)), line(place(1, { [A]: 3 }), "log", of(A, 3))], { end: false }),
    stream([begin(1, { [A]: 1 }), line(place(1, { [A]: 1 }), "log", of(A, 1)), line("f=1", "feed", of(A, 1)), line(place(1, { [A]: 2 }), "log", of(A, 2))], { end: false }),
  );
  const { connection, items, until } = connected(server, { feed: true, logs: [A] });
  await until(() => items.length === 2);
  assert.deepEqual(items.map(({ event }) => event.seq), [1, 2]);
  assert.equal(connection.stats.repeated, 2);
  connection.close();
});

test("a refusal that names a log takes that log only", async () => {
  const gone = () => Response.json({ code: "not_found", detail: `There is no task ${B}.`, errors: [] }, { status: 404 });
  const server = new Server().answer(gone, stream([QUICK, begin(null, { [A]: 0 }), line(place(null, { [A]: 1 }), "log", of(A, 1))], { end: false }));
  const { connection, items, until } = connected(server, { logs: [A, B] });
  await until(() => items.length === 2);
  assert.deepEqual(items.map(({ kind, taskId }) => [kind, taskId]), [["missing", B], ["event", A]]);
  assert.equal(items[0].problem.code, "not_found");
  assert.deepEqual(connection.logs, [A]);
  connection.close();
});

test("a refusal of everything closes it", async () => {
  const server = new Server().answer(refuse(403, "forbidden"));
  const { connection, states } = connected(server, { feed: true });
  await connection.closed;
  assert.deepEqual([states.at(-1).state, states.at(-1).problem.code], ["closed", "forbidden"]);
});

test("204 is the end of all logs, and then it is idle", async () => {
  const server = new Server().answer(nothing);
  const { connection, items, states, until } = connected(server, { logs: { [A]: 4, [B]: 2 } });
  await until(() => states.at(-1).state === "idle");
  assert.deepEqual(items.map(({ kind, taskId, seq }) => [kind, taskId, seq]), [["end", A, 4], ["end", B, 2]]);
  connection.close();
  await connection.closed;
  assert.equal(server.requests.length, 1);
});

test("it goes on from a cursor of an earlier one", async () => {
  const server = new Server().answer(stream([QUICK, begin(7, { [A]: 3 })], { end: false }));
  const { connection, until, states } = connected(server, { feed: true, logs: [A], after: `f=7;l=${A}:3;l=${B}:9` });
  await until(() => states.some(({ state }) => state === "open"));
  assert.equal(server.requests[0].cursor, `f=7;l=${A}:3`);
  connection.removeLog(A);
  connection.leaveFeed();
  await until(() => states.at(-1).state === "idle");
  connection.followFeed(3);
  await until(() => server.requests.length === 2);
  assert.equal(server.requests[1].cursor, "f=3");
  connection.close();
});

test("too many logs, and a token with an EventSource, are mistakes of the caller", () => {
  const client = new Client({ fetch: new Server().answer(nothing).fetch, token: "x" });
  assert.throws(() => client.connect({ logs: [A, B], logsMax: 1 }), RangeError);
  assert.throws(() => client.connect({ feed: true, transport: "eventsource" }), TypeError);
});
