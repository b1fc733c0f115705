import assert from "node:assert/strict";
import { test } from "node:test";
import { hintOf, parseJson, textOf } from "../../streaming/web/page/control.js";

test("a number is sent as it was typed, or refused in words", () => {
  assert.deepEqual(parseJson('{"a": [1, 2.5, -3e2]}', "parameters"), { a: [1, 2.5, -300] });
  const long = "12345678901234567890";
  if (JSON.rawJSON) assert.equal(textOf(parseJson(`{"n": ${long}}`, "parameters")), `{"n":${long}}`);
  else assert.throws(() => parseJson(`{"n": ${long}}`, "parameters"), /would change/);
  assert.throws(() => parseJson("{", "codec"), /codec is no JSON/);
});

test("what a value may be is said in a few words", () => {
  assert.equal(hintOf({ type: "integer", minimum: 1, exclusiveMaximum: 9, nullable: true }), "integer ≥ 1 < 9 or nothing");
  assert.equal(hintOf({ choices: [{ type: "integer" }, { title: "Cat", type: "object" }] }), "JSON: integer or Cat");
  assert.equal(hintOf({ type: "array", items: { type: "string" }, maxItems: 3 }), "JSON list of string at most 3");
});
