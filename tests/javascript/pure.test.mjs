// The parts that decide: the cursor, the order in a log, the pauses, the problems.

import assert from "node:assert/strict";
import test from "node:test";

import { Order } from "../../streaming/web/page/order.js";
import { Problem, problemOf } from "../../streaming/web/page/problem.js";
import { pauseMs } from "../../streaming/web/page/reading.js";
import { parseVector, writeVector } from "../../streaming/web/page/vector.js";

const A = "a".repeat(32);
const B = "b".repeat(32);

test("a cursor is read and written as the server does", () => {
  for (const text of ["", "f=0", `l=${A}:0`, `f=1234;l=${A}:17;l=${B}:3`]) {
    assert.equal(writeVector(parseVector(text)), text);
  }
  assert.equal(writeVector({ feed: 1, logs: new Map([[B, 1], [A, 2]]) }), `f=1;l=${A}:2;l=${B}:1`);
  for (const wrong of ["x", "f=", "f=x", `l=${A}`, "l=a:1", "f=1;", "17"]) {
    assert.throws(() => parseVector(wrong), SyntaxError);
  }
});

const event = (seq, more = {}) => ({ seq, task_id: A, type: "tick", time: "", data: {}, ...more });
const gap = (from, to) => event(to, { type: "gap", data: { from, to, reason: "retention" } });

test("in a log each event comes once, and a hole is read again", () => {
  const order = new Order(2);
  assert.equal(order.take(event(2)), "old");
  assert.equal(order.take(event(3)), "next");
  assert.equal(order.take(event(5)), "hole");
  assert.equal(order.last, 3);
  assert.equal(order.take(event(4)), "next");
  assert.equal(order.take(event(6)), "hole"); // another one: it was mended in between
  assert.equal(order.take(event(5)), "next");
});

test("a gap that the server tells is no hole, unless it leaves something out", () => {
  const order = new Order(0);
  assert.equal(order.take(gap(1, 9)), "next");
  assert.equal(order.last, 9);
  assert.equal(order.take(gap(5, 20)), "next"); // it reaches over what was seen
  assert.equal(order.take(gap(22, 30)), "hole");
  assert.equal(order.last, 20);
});

test("a hole that stays is a problem", () => {
  const order = new Order(0);
  assert.equal(order.take(event(2)), "hole");
  assert.throws(() => order.take(event(2)), { name: "Problem", code: "log_gap" });
});

test("pauses grow, have a limit, and are never the same for a crowd", () => {
  const pause = (attempt, random = 1, retryAfterS = null) => pauseMs({ attempt, retryMs: 2000, retryAfterS, random });
  assert.deepEqual([1, 2, 3, 4, 5, 6, 99].map((attempt) => pause(attempt)), [2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  assert.equal(pause(1, 0), 1000);
  assert.equal(pause(1, 0, 7), 7000); // the server knows better
  assert.equal(pause(1, 1, 60), 66_000);
  assert.equal(pause(9, 0, 1), 15_000);
});

test("a problem is what the server says, or that somebody else has answered", async () => {
  const said = { code: "draining", detail: "Later.", errors: [{ field: "a", message: "b" }] };
  const later = await problemOf(new Response(JSON.stringify(said), { status: 503, headers: { "retry-after": "3" } }));
  assert.ok(later instanceof Error && later instanceof Problem);
  const { code, status, detail, errors, retryAfterS, temporary, message } = later;
  assert.deepEqual([code, status, detail, errors, retryAfterS, temporary, message], ["draining", 503, "Later.", said.errors, 3, true, "Later."]);
  for (const body of ["<html>", "null", "[]", '{"code": 1}', ""]) {
    const proxy = await problemOf(new Response(body, { status: 502, headers: { "retry-after": "soon" } }));
    assert.deepEqual([proxy.code, proxy.retryAfterS, proxy.temporary], ["unexpected_answer", null, true]);
  }
  assert.equal(new Problem({ code: "not_found", status: 404 }).temporary, false);
  assert.equal(new Problem({ code: "unreachable" }).temporary, true);
});
