// Watching one task, over a server that fails in every way.

import assert from "node:assert/strict";
import test from "node:test";

import { Client, watch } from "../../streaming/web/page/client.js";
import { QUICK, Server, block, broken, nothing, refuse, stream } from "./server.mjs";

const ID = "a".repeat(32);

async function all(events) {
  const seen = [];
  for await (const event of events) seen.push(event.seq);
  return seen;
}

const end = block(4, "completed", { result: null });

test("it goes on behind the last event, whatever happens", async () => {
  const server = new Server().answer(
    broken,
    stream([QUICK, block(1), block(2)]), // ends cleanly, before the end
    stream([block(3)], { error: new TypeError("network error") }),
    refuse(503, "draining"),
    () => new Response("<html>Bad Gateway", { status: 502 }),
    () => new Response("<html>", { headers: { "content-type": "text/html" } }),
    stream(["data: ", "x"]), // torn
    stream([end]),
  );
  const states = [];
  const client = new Client({ fetch: server.fetch });
  const events = client.watch(ID, { onState: ({ state, attempt }) => states.push(`${state} ${attempt}`) });
  assert.deepEqual(await all(events), [1, 2, 3, 4]);
  assert.deepEqual(server.requests.map(({ cursor }) => cursor), [null, null, "2", "3", "3", "3", "3", "3"]);
  assert.equal(states[1], "waiting 1");
  assert.ok(states.includes("waiting 5"));
  assert.equal(states.at(-1), "open 5"); // an event follows, and the end
});

test("after is where it begins, and a 204 is the end", async () => {
  const server = new Server().answer(nothing);
  assert.deepEqual(await all(watch(ID, { after: 4, fetch: server.fetch, baseUrl: "http://x/" })), []);
  assert.deepEqual([server.requests[0].url, server.requests[0].cursor], [`http://x/tasks/${ID}/events`, "4"]);
});

test("what comes twice is taken once, and a hole is read again", async () => {
  const server = new Server().answer(
    stream([QUICK + block(1) + block(1) + block(3) + block(4, "completed")], { end: false }), // as one piece
    stream([block(1), block(2), block(3), end], { end: false }),
  );
  assert.deepEqual(await all(new Client({ fetch: server.fetch }).watch(ID)), [1, 2, 3, 4]);
  assert.deepEqual(server.requests.map(({ cursor }) => cursor), [null, "1"]);
});

test("a hole that stays is a problem", async () => {
  const server = new Server().answer(stream([QUICK, block(1), block(3)], { end: false }), stream([block(3)]));
  await assert.rejects(all(new Client({ fetch: server.fetch }).watch(ID)), { name: "Problem", code: "log_gap" });
});

test("a gap of the server is an event", async () => {
  const gap = block(3, "gap", { from: 1, to: 3, reason: "retention" });
  const server = new Server().answer(stream([gap, end]));
  assert.deepEqual(await all(new Client({ fetch: server.fetch }).watch(ID)), [3, 4]);
});

test("a connection without a byte is dead", async () => {
  const server = new Server().answer(
    stream([QUICK, block(1), block(2)], { end: false }),
    () => new Promise(() => {}), // not even an answer
    stream([block(3), end]),
  );
  const problems = [];
  const client = new Client({ fetch: (url, options) => hanging(server.fetch(url, options), options.signal) });
  const events = client.watch(ID, { keepaliveS: 0.02, onState: ({ problem }) => problem && problems.push(problem.code) });
  assert.deepEqual(await all(events), [1, 2, 3, 4]);
  assert.deepEqual(problems, ["silence", "silence"]);
});

/** As the fetch of browsers: it gives up with its signal. */
function hanging(answer, signal) {
  return Promise.race([
    answer,
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  ]);
}

test("keepalives keep it alive", async () => {
  const body = (signal) => {
    const timer = {};
    const stream = new ReadableStream({
      start(controller) {
        let left = 12;
        timer.id = setInterval(() => {
          controller.enqueue(new TextEncoder().encode(left > 0 ? ": keepalive\n" : end.replaceAll("4", "1")));
          left -= 1;
          if (left < 0) clearInterval(timer.id);
        }, 10);
      },
      cancel: () => clearInterval(timer.id),
    });
    return new Response(stream, { headers: { "content-type": "text/event-stream" } });
  };
  const server = new Server().answer(body);
  assert.deepEqual(await all(new Client({ fetch: server.fetch }).watch(ID, { keepaliveS: 0.04 })), [1]);
  assert.equal(server.requests.length, 1);
});

test("who does not read is not dead", async () => {
  const server = new Server().answer(stream([QUICK, block(1), block(2), block(3), end]));
  const seen = [];
  for await (const event of new Client({ fetch: server.fetch }).watch(ID, { keepaliveS: 0.01 })) {
    seen.push(event.seq);
    await new Promise((done) => setTimeout(done, 60));
  }
  assert.deepEqual(seen, [1, 2, 3, 4]);
  assert.equal(server.requests.length, 1);
});

test("the server says when to come back", async () => {
  const server = new Server().answer(refuse(429, "too_many_streams", { "retry-after": "1" }), stream([end.replaceAll("4", "1")]));
  const began = performance.now();
  const pauses = [];
  const onState = ({ seconds }) => seconds && pauses.push(seconds);
  assert.deepEqual(await all(new Client({ fetch: server.fetch }).watch(ID, { onState })), [1]);
  assert.ok(performance.now() - began >= 990);
  assert.ok(pauses[0] >= 1);
});

test("what is refused for good is thrown", async () => {
  for (const [status, code] of [[404, "not_found"], [400, "bad_cursor"], [403, "forbidden"], [401, "unauthenticated"]]) {
    const server = new Server().answer(refuse(status, code));
    await assert.rejects(all(new Client({ fetch: server.fetch, token: "x" }).watch(ID)), { name: "Problem", code, status });
    assert.equal(server.requests.length, 1);
  }
});

test("a fresh token is asked for once", async () => {
  const server = new Server().answer(refuse(401, "unauthenticated"), stream([end.replaceAll("4", "1")]));
  let number = 0;
  const token = async () => `token ${(number += 1)}`;
  assert.deepEqual(await all(new Client({ fetch: server.fetch, token }).watch(ID)), [1]);
  assert.deepEqual(server.requests.map((each) => each.token), ["Bearer token 1", "Bearer token 2"]);
  const wrong = new Server().answer(refuse(401, "unauthenticated"));
  await assert.rejects(all(new Client({ fetch: wrong.fetch, token }).watch(ID)), { code: "unauthenticated" });
  assert.equal(wrong.requests.length, 2);
});

test("a signal ends it with its reason, wherever it is", async () => {
  const places = [
    stream([block(1)], { end: false }), // it waits for bytes
    (signal) => hanging(new Promise(() => {}), signal), // for an answer
    refuse(503, "draining", { "retry-after": "60" }), // in a pause
  ];
  for (const place of places) {
    const leaving = new AbortController();
    const reading = all(new Client({ fetch: new Server().answer(place).fetch }).watch(ID, { signal: leaving.signal }));
    setTimeout(() => leaving.abort(new RangeError("enough")), 30);
    await assert.rejects(reading, { name: "RangeError", message: "enough" });
  }
  const gone = AbortSignal.abort();
  const server = new Server().answer(nothing);
  await assert.rejects(all(new Client({ fetch: server.fetch }).watch(ID, { signal: gone })), { name: "AbortError" });
  assert.equal(server.requests.length, 0);
});

test("to leave the loop ends the request", async () => {
  let aborted = false;
  const server = new Server().answer((signal) => {
    signal.addEventListener("abort", () => (aborted = true));
    return stream([block(1), block(2)], { end: false })(signal);
  });
  const events = new Client({ fetch: server.fetch }).watch(ID);
  for await (const event of events) if (event.seq === 1) break;
  assert.ok(aborted);
  assert.deepEqual(await events.next(), { done: true, value: undefined });
  await assert.rejects(new Client({ fetch: server.fetch }).watch(ID).throw(new RangeError("x")), RangeError);
});

test("a request that may be sent again is, and no other one", async () => {
  const answer = () => Response.json({ id: ID });
  const server = new Server().answer(broken, refuse(503, "draining", { "retry-after": "0" }), answer);
  assert.deepEqual(await new Client({ fetch: server.fetch }).start("x"), { id: ID });
  assert.equal(server.requests.length, 3);
  const once = new Server().answer(broken, answer);
  await assert.rejects(new Client({ fetch: once.fetch }).input(ID, 1), { code: "unreachable", status: 0 });
  assert.equal(once.requests.length, 1);
  const signal = AbortSignal.abort(new RangeError("x"));
  await assert.rejects(new Client({ fetch: once.fetch }).get(ID, { signal }).then(() => signal.throwIfAborted()), RangeError);
});
