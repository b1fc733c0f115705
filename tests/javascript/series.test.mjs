import assert from "node:assert/strict";
import { test } from "node:test";
import { Samples, phases, places, progressPoints, ratePoints } from "../../streaming/web/page/series.js";

const at = (ms) => new Date(1.6e12 + ms).toISOString();
const event = (seq, ms, type = "tick", data = {}) => ({ seq, time: at(ms), type, data });

test("a long log is looked at in places, from its first event to its last", () => {
  assert.deepEqual(places(3), [1, 2, 3]);
  assert.deepEqual(places(0), []);
  const found = places(100_000, 60);
  assert.deepEqual([found.length, found[0], found.at(-1)], [60, 1, 100_000]);
});

test("rates count every event, also those between two places", () => {
  const sum = (points, width_s) => points.reduce((all, [, value]) => all + value * width_s, 0);
  const every = Array.from({ length: 100 }, (_, place) => event(place + 1, place * 100));
  assert.ok(Math.abs(sum(ratePoints(every, 1.6e12, 1.6e12 + 9900, 10), 0.99) - 100) < 1e-6);
  const few = [event(1, 0), event(1001, 10_000)];
  const points = ratePoints(few, 1.6e12, 1.6e12 + 10_000, 10);
  assert.ok(Math.abs(sum(points, 1) - 1001) < 1e-6);
  assert.ok(points.slice(1).every(([, value]) => Math.abs(value - 100) < 1e-6));
  assert.deepEqual(ratePoints([], 0, 1000, 2), [[250, 0], [750, 0]]);
});

test("events of one moment do not divide by nothing", () => {
  const points = ratePoints([event(1, 5), event(2, 5)], 1.6e12 + 5, 1.6e12 + 5, 4);
  assert.ok(points.every(([, value]) => Number.isFinite(value)));
});

test("progress is what was reported", () => {
  assert.deepEqual(progressPoints([event(1, 0), event(2, 10, "progress", { percent: 5 })]), [[1.6e12 + 10, 5]]);
});

test("phases fill the time from the start to the end, with the marks of a cancel", () => {
  const task = { created_at: at(0), finished_at: at(1000), cancel: { by: "anna", requested_at: at(500), delivered_at: at(900), stopped_at: at(1000) } };
  const changes = [["pending", 0], ["running", 100], ["cancelled", 1000]].map(([to, ms], place) => ({ seq: place + 1, to, time: at(ms), by: "server", reason: "" }));
  const found = phases(task, changes, 0);
  assert.deepEqual(found.bars.map(({ status, from, to }) => [status, from - 1.6e12, to - 1.6e12]), [["pending", 0, 100], ["running", 100, 1000]]);
  assert.deepEqual(found.marks.map(({ kind, at }) => [kind, at - 1.6e12]), [["requested", 500], ["delivered", 900], ["stopped", 1000]]);
  assert.match(found.marks[1].words, /protected section/);
  const running = phases({ created_at: at(0), finished_at: null, cancel: null }, changes.slice(0, 2), 1.6e12 + 700);
  assert.equal(running.bars.at(-1).to - 1.6e12, 700);
});

test("attempts and the pauses between them are told apart, and what held a cancel back", () => {
  const names = ["pending", "running", "retrying", "running", "retrying", "running", "cancelled"];
  const changes = names.map((to, place) => ({ seq: place + 1, to, time: at(place * 100), by: "server", reason: "" }));
  const cancel = { by: "anna", requested_at: at(520), delivered_at: at(590), stopped_at: at(600) };
  const found = phases({ created_at: at(0), finished_at: at(600), cancel }, changes, 0, "commit");
  assert.deepEqual(found.bars.map(({ attempt }) => attempt), [0, 1, 1, 2, 2, 3]);
  assert.deepEqual([found.held.from - 1.6e12, found.held.to - 1.6e12], [520, 590]);
  assert.match(found.held.words, /“commit”/);
  assert.equal(phases({ created_at: at(0), finished_at: null, cancel: null }, changes, 0, "commit").held, null);
});

test("of a million events a few are kept, evenly, and the newest; in any order, each once", () => {
  const samples = new Samples(100);
  for (let seq = 1_000_000; seq > 0; seq -= 10) samples.add(event(seq, seq));
  samples.add(event(1_000_001, 1));
  const seqs = samples.list().map(({ seq }) => seq);
  assert.ok(seqs.length > 40 && seqs.length <= 101, String(seqs.length));
  assert.equal(seqs.at(-1), 1_000_001);
  assert.deepEqual(seqs, [...new Set(seqs)].sort((one, other) => one - other));
  const gaps = seqs.slice(1, -2).map((seq, place) => seq - seqs[place]);
  assert.ok(Math.max(...gaps) <= 2 * Math.min(...gaps), String(gaps));
});
