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

let asked = 0;

/** Whoever goes somewhere else has not said yes. */
export function closeQuestions() {
  for (const dialog of document.querySelectorAll("dialog[open]:not([data-keep])")) dialog.close();
}

/**
 * @typedef {{name: string, label: string, type?: string, value?: string, hint?: string, required?: boolean, max?: number}} Field
 */

/**
 * Ask the person.
 * @param {Object} question
 * @param {string} question.title
 * @param {any} [question.body] what will happen.
 * @param {string} question.yes the button that does it.
 * @param {string} [question.no] the button that does not.
 * @param {boolean} [question.danger] it cannot be taken back.
 * @param {Array<Field>} [question.fields]
 * @param {string} [question.type] what has to be typed first, so that nobody does it by accident.
 * @param {boolean} [question.keep] it is asked wherever one goes meanwhile.
 * @returns {Promise<?Object<string, string>>} what was filled in; null for "no".
 */
export function ask({ title, body, yes, no = "Keep it", danger = false, fields = [], type = "", keep = false }) {
  return new Promise((resolve) => {
    const go = h(`button.${danger ? "danger" : "primary"}`, { type: "submit", disabled: Boolean(type) }, yes);
    const back = h("button", { type: "button", onclick: () => dialog.close() }, no);
    const inputs = fields.map((field) => input(field));
    if (type) inputs.push(proof(type, go));
    const id = `ask-${(asked += 1)}`;
    const form = h("form", { method: "dialog" }, h("h2", { id }, title), body && h("div.ask-body", {}, body),
      inputs, h("div.buttons", {}, back, go));
    const dialog = h("dialog", { "aria-labelledby": id, "data-keep": keep }, form);
    let answer = null;
    const isEnter = (event) => event.key === "Enter" && event.target.matches("input");
    if (danger) form.addEventListener("keydown", (event) => isEnter(event) && event.preventDefault());
    form.addEventListener("submit", () => {
      answer = Object.fromEntries(new FormData(form));
    });
    let beside = false; // a text that is marked from inside to outside is no click beside it
    dialog.addEventListener("pointerdown", (event) => (beside = event.target === dialog));
    dialog.addEventListener("click", (event) => beside && event.target === dialog && dialog.close());
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
  const check = () => (button.disabled = typed.value.trim() !== words);
  const typed = h("input", { "aria-label": `type ${words}`, autocomplete: "off", oninput: check });
  return h("label.field", {}, h("span", {}, "Type ", h("b", {}, words), " to go on"), typed);
}

const shelf = h("div.toasts", { role: "status", "aria-live": "polite" });

/** Say something for a few seconds; what went wrong stays until it is closed. */
export function tell(words, { wrong = false, action = null } = {}) {
  if (!shelf.isConnected) document.body.append(shelf);
  const close = h("button.ghost", { type: "button", "aria-label": "close", onclick: () => toast.remove() }, "×");
  if (shelf.lastChild?.firstChild.textContent === words) shelf.lastChild.remove(); // said once is enough
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
