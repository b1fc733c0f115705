/**
 * Any JSON value as a tree that opens where one looks.
 *
 * Owns:   the tree, and what is done with a value: copy, download.
 * Never:  draws more of a long list than was asked for.
 */

import { download, h } from "./dom.js";
import { tell } from "./dialog.js";

/** Members of one list or object that are drawn at once, and levels that are open. */
const PAGE = 100;
const CHARACTERS = 4000;
const OPEN_LEVELS = 2;

/** @param {any} value @param {string} name of the file it can be saved as. @returns {HTMLElement} */
export function jsonView(value, name) {
  const text = () => JSON.stringify(value, null, 2) ?? "null"; // may be long: made when it is asked for
  return h("div.json", {},
    h("div.json-tools", {},
      h("button.small", { type: "button", onclick: () => copy(text()) }, "Copy"),
      h("button.small", { type: "button", onclick: () => download(`${name}.json`, text()) }, "Download")),
    node(value, 0));
}

/** Put a text on the clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied.");
  } catch {
    tell("The browser does not let the page use the clipboard: mark the text, and copy it yourself.", { wrong: true });
  }
}

function node(value, level, label = null) {
  const name = label === null ? null : h("span.json-name", {}, `${label}: `);
  if (typeof value !== "object" || value === null) return h("div.json-leaf", {}, name, leaf(value));
  const entries = Array.isArray(value) ? value.map((each, place) => [place, each]) : Object.entries(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (!entries.length) return h("div.json-leaf", {}, name, `${open}${close}`);
  const inside = h("div.json-inside");
  const details = h("details", { open: level < OPEN_LEVELS },
    h("summary", {}, name, h("span.json-size", {}, `${open} ${entries.length} ${close}`)), inside);
  const fill = () => inside.childElementCount || more(inside, entries, level, 0);
  details.addEventListener("toggle", () => details.open && fill());
  if (level < OPEN_LEVELS) fill();
  return details;
}

function more(inside, entries, level, from) {
  for (const [label, value] of entries.slice(from, from + PAGE)) inside.append(node(value, level + 1, label));
  const left = entries.length - from - PAGE;
  if (left <= 0) return;
  const button = h("button.small", { type: "button" }, `${left} more`);
  button.addEventListener("click", () => {
    button.remove();
    more(inside, entries, level, from + PAGE);
  });
  inside.append(button);
}

function leaf(value) {
  const words = typeof value === "string" ? JSON.stringify(value) : String(value);
  const element = h(`span.json-${value === null ? "null" : typeof value}`, {}, words.slice(0, CHARACTERS));
  if (words.length <= CHARACTERS) return element;
  const more = h("button.small", { type: "button" }, `${words.length - CHARACTERS} more characters`);
  more.addEventListener("click", () => {
    element.textContent = words;
    more.remove();
  });
  return [element, more];
}
