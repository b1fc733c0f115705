/**
 * Why a task is still running: the sentence of the server, and what stands behind it.
 *
 * Owns:   how that answer looks.
 * Never:  concludes anything itself.
 */

import { taskLink } from "./actions.js";
import { h } from "./dom.js";
import { clock, duration } from "./format.js";
import { jsonView } from "./json_tree.js";

/** @param {any} why the answer of `GET /tasks/{id}/why` @param {function(): void} again asks once more. @returns {Array<any>} */
export function whyView(why, again) {
  return [
    h("p.sentence", {}, why.sentence),
    h("p", {}, h("span.chip", {}, why.reason.replaceAll("_", " ")), h("button.small", { type: "button", onclick: again }, "Ask again")),
    facts(why),
    why.stack && [h("h2", {}, "Where it stands"), h("ul.stack", {}, coroutine(why.stack))],
    why.children?.length ? [h("h2", {}, "Children"), h("ul.stack", {}, why.children.map(childOf))] : null,
    h("details", {}, h("summary", {}, "All of it"), jsonView(why, `why-${why.task_id}`)),
  ];
}

function facts(why) {
  const { past } = why;
  const pairs = [
    ["runs for", why.elapsed_s !== null && why.elapsed_s !== undefined && duration(why.elapsed_s)],
    ["silent for", why.silent_s !== null && why.silent_s !== undefined && duration(why.silent_s)],
    ["in this wait since", why.unmoved_since && clock(why.unmoved_since)],
    ["past runs", past?.runs ? pastWords(past) : null],
    ["deadlines", why.deadlines?.length ? why.deadlines.map(({ limit, at }) => `${limit} at ${clock(at)}`).join(", ") : null],
  ].filter(([, value]) => value);
  return h("dl.inline", {}, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const childOf = (child) =>
  h("li", {}, taskLink(child.id ?? child.task_id ?? child), ` ${child.type ?? ""} ${child.status ?? ""}`);

const pastWords = ({ p50_s, p99_s, shorter, runs }) =>
  `half within ${duration(p50_s)}, 99 of 100 within ${duration(p99_s)}; ${shorter} of ${runs} took less`;

/** A coroutine, its lines, and the asyncio tasks that it waits for. */
function coroutine(stack) {
  return h("li", {}, h("b", {}, stack.function), ` waits for ${stack.waits_for}`,
    h("ol", {}, stack.frames.map(({ where, own }) => h(`li${own ? ".own" : ""}`, {}, h("code", {}, where)))),
    stack.tasks.length ? h("ul", {}, stack.tasks.map(coroutine), stack.more ? h("li.muted", {}, `and ${stack.more} more`) : null) : null);
}
