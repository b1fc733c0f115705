import assert from "node:assert/strict";
import { test } from "node:test";
import { Rows, comparator, isDoubtful } from "../../streaming/web/page/rows.js";

const time = (second) => `2026-11-20T10:00:${String(second).padStart(2, "0")}.000000Z`;
const record = (id, more = {}) => ({ id, type: "t", status: "running", last_seq: 2, created_at: time(Number(id)), progress: null, priority: "normal", cancel: null, attempt: 1, ...more });
const event = (id, seq, type, data = {}) => ({ task_id: id, seq, type, time: time(seq), data });

test("an event changes what the record does not know yet, once", () => {
  const rows = new Rows();
  rows.add([record("1")]);
  assert.equal(rows.apply(event("1", 3, "progress", { percent: 40, message: "x" })), true);
  assert.deepEqual(rows.get("1").progress, { percent: 40, message: "x" });
  assert.equal(rows.apply(event("1", 3, "progress", { percent: 10 })), false);
  assert.equal(rows.apply(event("1", 2, "progress", { percent: 10 })), false);
  assert.equal(rows.apply(event("2", 9, "progress", { percent: 10 })), false);
  assert.equal(rows.get("1").progress.percent, 40);
});

test("an answer that is older than the feed changes nothing", () => {
  const rows = new Rows();
  rows.add([record("1")]);
  rows.apply(event("1", 5, "completed", { result: 1 }));
  rows.add([record("1", { last_seq: 4 })]);
  assert.equal(rows.get("1").status, "completed");
  rows.add([record("1", { last_seq: 5, status: "completed", result: 1, acked_at: "now" })]);
  assert.equal(rows.get("1").acked_at, "now");
});

test("statuses bring their times", () => {
  const rows = new Rows();
  rows.add([record("1", { status: "pending", last_seq: 1 })]);
  rows.apply(event("1", 2, "running", { attempt: 1 }));
  assert.equal(rows.get("1").started_at, time(2));
  rows.apply(event("1", 3, "retrying", { attempt: 2, retry_at: time(9), error: { code: "x", message: "y" } }));
  assert.deepEqual([rows.get("1").status, rows.get("1").attempt, rows.get("1").retry_at], ["retrying", 2, time(9)]);
  rows.apply(event("1", 4, "cancel_requested", { by: "anna", reason: "no" }));
  assert.equal(rows.get("1").cancel.by, "anna");
  rows.apply(event("1", 5, "cancel_ignored", { where: "a.py:1" }));
  assert.deepEqual([rows.get("1").cancel.outcome, rows.get("1").cancel.by], ["ignored", "anna"]);
  rows.apply(event("1", 6, "failed", { error: { code: "c", message: "m" } }));
  assert.deepEqual([rows.get("1").finished_at, rows.get("1").error.code], [time(6), "c"]);
});

test("rows stand in the order that was asked for, and the rest is cut off", () => {
  for (const [sort, order] of [["-created_at", "321"], ["created_at", "123"], ["-progress,id", "231"], ["progress", "132"], ["-priority,created_at", "312"]]) {
    const rows = new Rows(sort);
    rows.add([record("2", { progress: { percent: 9 } }), record("3", { priority: "urgent", progress: { percent: 5 } }), record("1")]);
    assert.equal(rows.list.map(({ id }) => id).join(""), order, sort);
  }
  const rows = new Rows();
  rows.add([record("1"), record("2"), record("3")]);
  rows.trim(2);
  assert.deepEqual([rows.list.length, rows.get("1")], [2, undefined]);
  rows.remove(["2", "nobody"]);
  assert.deepEqual(rows.list.map(({ id }) => id), ["3"]);
});

test("equal tasks have one order", () => {
  const compare = comparator("type");
  assert.ok(compare(record("1"), record("2")) < 0);
  assert.equal(compare(record("1"), record("1")), 0);
});

test("what may change the answer to a question is doubtful", () => {
  assert.deepEqual(["pending", "running", "completed", "cancel_requested", "progress", "log", "tick"].map((type) => isDoubtful({ type })), [true, true, true, true, false, false, false]);
});

test("among equal ones the id stands in the direction of the last field, as on the server", () => {
  const [one, two] = ["1", "2"].map((id) => ({ id, priority: "high", type: "x" }));
  assert.ok(comparator("-priority,type")(one, two) < 0);
  assert.ok(comparator("priority,-type")(one, two) > 0);
});
