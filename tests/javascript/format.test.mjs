import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, brief, bytes, duration, etaRange, gist, lifetime, rate } from "../../streaming/web/page/format.js";

test("durations are read at a glance", () => {
  const said = [[0, "0 s"], [-5, "0 s"], [0.25, "250 ms"], [1.26, "1.3 s"], [59.9, "59 s"], [60, "1 m 00 s"], [3661, "1 h 01 m"], [90000, "1 d 1 h"], [NaN, "–"], [Infinity, "–"]];
  for (const [seconds, words] of said) assert.equal(duration(seconds), words);
});

test("an end is a range, one time, or any moment", () => {
  const at = (second) => `2026-11-20T10:00:${second}.000Z`;
  const now = Date.parse(at("00"));
  assert.equal(etaRange({ earliest: at("12"), latest: at("30") }, now), "12 s – 30 s");
  assert.equal(etaRange({ earliest: at("12"), latest: at("12") }, now), "12 s");
  assert.equal(etaRange({ earliest: at("00"), latest: at("00") }, now), "any moment");
  assert.equal(etaRange(null, now), "");
  assert.equal(ago(at("00"), now + 5000), "5.0 s ago");
  assert.equal(ago(null, now), "");
  assert.equal(lifetime({ created_at: at("00"), finished_at: null }, now + 1000), 1);
  assert.equal(lifetime({ created_at: at("00"), finished_at: at("10") }, now + 90000), 10);
});

test("bytes, rates and long values are short", () => {
  assert.deepEqual([0, 999, 1500, 15000, 2.5e9].map(bytes), ["0 B", "999 B", "1.5 kB", "15 kB", "2.5 GB"]);
  assert.deepEqual([0.255, 3.14, 42.4].map(rate), ["0.26", "3.1", "42"]);
  assert.equal(brief("x".repeat(500), 10), "xxxxxxxxxx …");
  assert.equal(brief({ a: 1 }), '{"a":1}');
  assert.equal(brief(null), "");
});

test("each event says something in a line, also one that holds nothing", () => {
  const say = (type, data) => gist({ type, data });
  assert.equal(say("log", { level: "info", message: "hello", n: 1 }), 'hello {"n":1}');
  assert.equal(say("log", { level: "info", message: "hello" }), "hello");
  assert.equal(say("progress", { percent: 40, message: null }), "40 %");
  assert.equal(say("failed", { error: { code: "c", message: "m" } }), "c: m");
  assert.equal(say("cancel_requested", { by: "anna", reason: "", held_by: "saving" }), "by anna (held back by saving)");
  assert.equal(say("gap", { from: 1, to: 9, reason: "retention" }), "events 1 to 9 are not kept any more (retention)");
  assert.equal(say("tick", {}), "");
  assert.equal(say("tick", null), "");
  assert.equal(say("tick", [1]), "[1]");
});
