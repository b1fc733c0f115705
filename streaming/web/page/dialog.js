/**
 * Questions before something happens, and short messages after it.
 *
 * Rules of this file:
 *
 * - What cannot be taken back is asked for, in a sentence that says what will happen; the safe answer has the focus.
 * - Escape, and a click beside it, mean "no".
 *
 * Owns:   the dialog and the messages.
 * Never:  does what is asked for.
 */

import { h } from "./dom.js";

/**
 * Ask the person.
 * @param {Object} question
 * @param {string} question.title
 * @param {any} [question.body] what will happen.
 * @param {string} question.yes the button that does it.
 * @param {string} [question.no] the button that does not.
 * @param {boolean} [question.danger] it cannot be taken back.
 * @param {Array<{name: string, label: string, type?: string, value?: string, hint?: string, required?: boolean, max?: number}>} [question.fields]
 * @param {string} [question.type] what has to be typed first, so that nobody does it by accident.
 * @returns {Promise<?Object<string, string>>} what was filled in; null for "no".
 */
export function ask({ title, body, yes, no = "Keep it", danger = false, fields = [], type = "" }) {
  return new Promise((resolve) => {
    const go = h(`button.${danger ? "danger" : "primary"}`, { type: "submit", disabled: Boolean(type) }, yes);
    const back = h("button", { type: "button", onclick: () => dialog.close() }, no);
    const inputs = fields.map((field) => input(field));
    if (type) inputs.push(proof(type, go));
    const form = h("form", { method: "dialog", novalidate: false }, h("h2", { id: "ask" }, title), body && h("div.ask-body", {}, body),
      inputs, h("div.buttons", {}, back, go));
    const dialog = h("dialog", { "aria-labelledby": "ask" }, form);
    let answer = null;
    if (danger) form.addEventListener("keydown", (event) => event.key === "Enter" && event.target.matches("input") && event.preventDefault());
    form.addEventListener("submit", () => {
      answer = Object.fromEntries(new FormData(form));
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    (inputs[0]?.querySelector("input,textarea") ?? back).focus();
  });
}

function input({ name, label, type = "text", value = "", hint, required = false, max = 1000, autocomplete = "off" }) {
  return h("label.field", {}, h("span", {}, label),
    h("input", { name, type, value, required, maxlength: max, autocomplete, step: type === "number" ? "any" : null }),
    hint && h("small", {}, hint));
}

/** A field in which the words must be typed before the button works. */
function proof(words, button) {
  const typed = h("input", { "aria-label": `type ${words}`, autocomplete: "off", oninput: () => (button.disabled = typed.value.trim() !== words) });
  return h("label.field", {}, h("span", {}, "Type ", h("b", {}, words), " to go on"), typed);
}

const shelf = h("div.toasts", { role: "status", "aria-live": "polite" });

/** Say something for a few seconds; what went wrong stays until it is closed. */
export function tell(words, { wrong = false, action = null } = {}) {
  if (!shelf.isConnected) document.body.append(shelf);
  const close = h("button.ghost", { type: "button", "aria-label": "close", onclick: () => toast.remove() }, "×");
  const toast = h(`div.toast${wrong ? ".wrong" : ""}`, {}, h("span", {}, words), action, close);
  shelf.append(toast);
  while (shelf.children.length > 4) shelf.firstChild.remove();
  if (!wrong) setTimeout(() => toast.remove(), 6000);
}

/** Say what a refusal says: its words, and what would be right. @param {any} problem */
export function tellProblem(problem) {
  const details = (problem.errors ?? []).map(({ field, message }) => `${field}: ${message}`).join("; ");
  tell([problem.detail ?? problem.message ?? String(problem), details && ` ${details}`].filter(Boolean).join(""), { wrong: true });
}

/** A place that says why nothing is here. */
export function nothing(title, words, ...more) {
  return h("div.nothing", {}, h("h2", {}, title), h("p", {}, words), more);
}

/** A menu under a button. */
export function menu(label, entries) {
  const list = h("div.menu", {}, entries);
  const details = h("details.dropdown", {}, h("summary.button", {}, label), list);
  list.addEventListener("click", () => (details.open = false));
  document.addEventListener("click", (event) => details.contains(event.target) || (details.open = false));
  return details;
}

