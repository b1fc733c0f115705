// The parser, against the standard: whatever pieces the bytes come in.

import assert from "node:assert/strict";
import test from "node:test";

import { Parser } from "../../streaming/web/page/sse.js";

const bytes = (text) => new TextEncoder().encode(text);

function parsed(stream, sizes) {
  const parser = new Parser();
  const blocks = [];
  const whole = typeof stream === "string" ? bytes(stream) : stream;
  for (let at = 0; at < whole.length; at += sizes) blocks.push(...parser.push(whole.subarray(at, at + sizes)));
  return { blocks, retryMs: parser.retryMs };
}

const CASES = [
  ["one event", "id: 1\nevent: a\ndata: x\n\n", [["1", "a", "x"]]],
  ["no type is a message", "data: x\n\n", [["", "message", "x"]]],
  ["lines are joined", "data: x\ndata\ndata:y\n\n", [["", "message", "x\n\ny"]]],
  ["one blank is no part of a value", "data:  x\n\n", [["", "message", " x"]]],
  ["CR, LF and CRLF are line ends", "data: a\r\rdata: b\n\ndata: c\r\n\r\n", [["", "message", "a"], ["", "message", "b"], ["", "message", "c"]]],
  ["an id stays", "id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [["7", "message", "a"], ["7", "message", "b"], ["", "message", "c"]]],
  ["an id with a NUL is none", "id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n", [["7", "message", "a"], ["7", "message", "b"]]],
  ["an id without data counts with the blank line", "id: 9\n\ndata: a\n\n", [["9", "message", "a"]]],
  ["a comment is nothing", ": keepalive\ndata: a\n:\n\n", [["", "message", "a"]]],
  ["without data there is no event, and its type is forgotten", "event: a\n\ndata: x\n\n", [["", "message", "x"]]],
  ["what is not whole is nothing", "data: a\n\ndata: b\n", [["", "message", "a"]]],
  ["unknown names are nothing", "Data: a\nfoo: b\ndata : c\ndata: d\n\n", [["", "message", "d"]]],
  ["a byte order mark in front is nothing", "\ufeffdata: a\n\n\ufeffdata: b\n\n", [["", "message", "a"]]],
  ["any characters", "data: é🦊\u2028\u0085\n\n", [["", "message", "é🦊\u2028\u0085"]]],
  ["empty data is data", "data\n\n", [["", "message", ""]]],
];

for (const [name, stream, wanted] of CASES) {
  test(name, () => {
    for (const sizes of [1, 2, 3, 7, 1000]) {
      const { blocks } = parsed(stream, sizes);
      assert.deepEqual(blocks.map(({ id, event, data }) => [id, event, data]), wanted, `in pieces of ${sizes}`);
    }
  });
}

test("a time is digits only", () => {
  assert.equal(parsed("retry: 2000\n", 1).retryMs, 2000);
  for (const wrong of ["-1", "1.5", "x", "", "1 ", "+1", "١"]) assert.equal(parsed(`retry: ${wrong}\n`, 1).retryMs, null);
});

test("bytes that are no UTF-8 are replaced, and nothing else is lost", () => {
  const stream = new Uint8Array([...bytes("data: a"), 0xff, ...bytes("b\n\n")]);
  assert.equal(parsed(stream, 1).blocks[0].data, "a\ufffdb");
});
