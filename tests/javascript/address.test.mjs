import assert from "node:assert/strict";
import { test } from "node:test";
import { filterOf, readPlace, sortOf, toggled, withFilter, writePlace } from "../../streaming/web/page/address.js";

const ID = "0".repeat(31) + "a";

test("what is looked at comes back out of the URL", () => {
  for (const place of [
    { view: "tasks", filters: [] },
    { view: "tasks", filters: [["status", "running"], ["created_at[gte]", "2026-11-01T00:00:00Z"], ["q", "a b&c=d"]] },
    { view: "task", task: ID, tab: "events", filters: [] },
    { view: "task", task: ID, tab: "why", filters: [["tag", "x"]] },
    { view: "server", filters: [] },
    { view: "new", type: "countdown", filters: [] },
    { view: "new", type: "", filters: [] },
  ]) assert.deepEqual(readPlace(writePlace(place)), place);
});

test("what is no place is the list", () => {
  for (const search of ["", "?", "?task=nonsense", "?view=nonsense", "?task=" + "Z".repeat(32)]) assert.equal(readPlace(search).view, "tasks");
});

test("a filter is set once, and taken away", () => {
  const one = withFilter([["q", "x"]], "status", "failed");
  assert.deepEqual(withFilter(one, "status", "running"), [["q", "x"], ["status", "running"]]);
  assert.deepEqual(withFilter(one, "status", ""), [["q", "x"]]);
  assert.equal(filterOf(one, "status"), "failed");
  assert.equal(filterOf(one, "none"), "");
});

test("the order is the one that is asked for, then that of the preset", () => {
  assert.equal(sortOf([]), "-created_at");
  assert.equal(sortOf([["preset", "failed"]]), "-finished_at");
  assert.equal(sortOf([["preset", "failed"], ["sort", "type"]]), "type");
  assert.equal(sortOf([["preset", "active"]]), "-created_at");
});

test("a member of a list is put in and taken out", () => {
  assert.deepEqual(toggled(["running"], "failed"), ["running", "failed"]);
  assert.deepEqual(toggled(["running", "failed"], "running"), ["failed"]);
});
