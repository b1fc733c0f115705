import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog, PAGE } from "../../streaming/web/page/events.js";

const at = (seq) => new Date(1.6e12 + seq * 1000).toISOString();
const event = (seq) => ({ seq, type: "tick", time: at(seq), data: { n: seq } });

/** A log of so many events, and how often it was asked. */
function served(last, { gone = 0, page_max = Infinity } = {}) {
  const asked = [];
  const log = new EventLog(async (after, limit) => {
    asked.push([after, limit]);
    const found = [];
    if (after < gone) found.push({ seq: gone, type: "gap", time: at(gone), data: { from: after + 1, to: gone, reason: "retention" } });
    for (let seq = Math.max(after, gone) + 1; seq <= last && found.length < Math.min(limit, page_max); seq += 1) found.push(event(seq));
    return found;
  });
  log.grow(last);
  return { log, asked };
}

test("a page is fetched where one looks, once", async () => {
  const { log, asked } = served(100_000);
  assert.equal(log.get(50_000), undefined);
  await Promise.all([log.at(50_000), log.at(49_999), log.load(Math.floor(49_999 / PAGE))]);
  assert.equal(log.get(50_000).data.n, 50_000);
  assert.equal(asked.length, 1);
});

test("a page that comes in pieces is put together", async () => {
  const { log } = served(PAGE, { page_max: 100 });
  await log.load(0);
  assert.ok(log.whole(0));
  assert.equal(log.get(PAGE).seq, PAGE);
});

test("what is gone is a gap at each of its numbers", async () => {
  const { log } = served(1000, { gone: 600 });
  await log.load(0);
  assert.equal(log.get(1).type, "gap");
  assert.equal(log.get(PAGE).type, "gap");
  await log.load(2);
  assert.deepEqual([log.get(600).type, log.get(601).type], ["gap", "tick"]);
});

test("a time is found by few pages", async () => {
  const { log, asked } = served(100_000);
  assert.equal(await log.lastUntil(1.6e12 + 77_777_500), 77_777);
  assert.equal(await log.lastUntil(0), 0);
  assert.equal(await log.lastUntil(Infinity), 100_000);
  assert.ok(asked.length < 60, String(asked.length));
});

test("a time is found behind a gap, whatever time that has", async () => {
  const log = new EventLog(async (after, limit) => {
    const gap = { seq: 600, type: "gap", time: at(1e6), data: { from: after + 1, to: 600, reason: "retention" } };
    const found = after < 600 ? [gap] : [];
    for (let seq = Math.max(after, 600) + 1; seq <= 900 && found.length < limit; seq += 1) found.push(event(seq));
    return found;
  });
  log.grow(900);
  assert.equal(await log.lastUntil(1.6e12 + 700_500), 700);
  assert.equal(await log.lastUntil(1.6e12 + 900_000), 900);
});

test("what comes live is there, and pages are forgotten before they fill the memory", async () => {
  const { log } = served(200_000);
  log.add(event(200_001));
  assert.equal(log.get(200_001).seq, 200_001);
  for (let page = 0; page < 400; page += 1) await log.load(page);
  assert.ok(log._pages.size <= 201);
});

test("a fetch that fails is tried again when one looks again", async () => {
  let fail = true;
  const log = new EventLog(async () => {
    if (fail) throw new Error("away");
    return [event(1)];
  });
  log.grow(1);
  await assert.rejects(log.at(1));
  assert.equal(log.failed, true);
  fail = false;
  assert.equal((await log.at(1)).seq, 1);
  assert.equal(log.failed, false);
});

test("a flood of live events fills no memory, and what one looks at stays", async () => {
  const { log, asked } = served(500);
  await log.load(0);
  for (let seq = 501; seq <= 200_000; seq += 1) {
    log.add(event(seq));
    if (seq % 100 === 0) log.get(7); // somebody looks at the beginning meanwhile
  }
  assert.ok(log._pages.size <= 200, String(log._pages.size));
  assert.equal(log.get(7).seq, 7);
  assert.equal(log.get(200_000).seq, 200_000);
  assert.equal(log.last, 200_000);
  assert.equal(asked.length, 1);
});

test("a gap that comes live stands for its events, and the log goes on behind it", () => {
  const { log } = served(3);
  log.add(event(3));
  log.add({ seq: 40, type: "gap", time: at(40), data: { from: 4, to: 40, reason: "retention" } });
  log.add(event(41));
  assert.deepEqual([3, 4, 40, 41].map((seq) => log.get(seq).type), ["tick", "gap", "gap", "tick"]);
  assert.equal(log.last, 41);
});
