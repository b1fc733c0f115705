/**
 * Starting a task: its type, its parameters in a form made out of the type's JSON Schema, and what else can be asked for.
 *
 * Owns:   that form.
 * Never:  decides what is right: the server does, and its refusals are shown at their fields.
 */

import { taskLink } from "./actions.js";
import { writePlace } from "./address.js";
import { nothing, tell, tellProblem } from "./dialog.js";
import { h, put } from "./dom.js";
import { SchemaForm } from "./form.js";
import { duration } from "./format.js";

const OPTIONS = [
  ["timeout_s", "Seconds that a run may take", "number"],
  ["priority", "Priority", ["normal", "low", "high", "urgent"]],
  ["tags", "Tags, by commas", "text"],
  ["key", "Key: tasks with the same one run one after the other", "text"],
];

export class StartView {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this._app = app;
    this.element = h("section.start-view", { "aria-labelledby": "start-title" });
  }

  close() {
    this._closed = true;
  }

  /** @param {import("./address.js").Place} place */
  async show(place) {
    this._wanted = place.type;
    if (!this._types) put(this.element, h("p.muted.loading", { role: "status" }, "Looking them up …"));
    const types = await this._app.types();
    if (this._closed || this._wanted !== place.type) return;
    this._types = types;
    if (!types.length) {
      put(this.element, nothing("Nothing can be started", "The server does not tell its task types, or has none.",
        h("button", { type: "button", onclick: () => this.show(place) }, "Try again")));
      return;
    }
    const known = types.find(({ name }) => name === place.type);
    const list = h("nav.type-list.card", { "aria-label": "task types" }, types.map((type) => this._entry(type, known)));
    const which = () => h("div.card", {}, nothing("Which one?", "Choose what is to be done."));
    const form = known ? this._formOf(known) : which();
    const focused = this.element.contains(document.activeElement);
    put(this.element, h("h1", { id: "start-title" }, "Start a task"), h("div.start-columns", {}, list, form));
    if (known && focused) list.querySelector("[aria-current]").focus();
  }

  _entry({ name, description }, known) {
    const current = known?.name === name ? "true" : null;
    return h("a.type-entry", { href: writePlace({ view: "new", type: name }), "aria-current": current },
      h("b", {}, name), h("small", {}, description?.split("\n")[0]));
  }

  _formOf(type) {
    const form = new SchemaForm(type.params_schema);
    const options = OPTIONS.map(([name, label, kind]) => option(name, label, kind));
    const wrong = h("div.error-box", { role: "alert", hidden: true, tabindex: "-1" });
    const go = h("button.primary", { type: "submit" }, "Start");
    const attempts = type.attempts_max > 1 ? `, in up to ${type.attempts_max} attempts` : "";
    const submit = (event) => {
      event.preventDefault();
      void this._start(type, form, options, wrong, go);
    };
    return h("form.card.start-form", { onsubmit: submit },
      h("h2", {}, type.name), type.description && h("p.described", {}, type.description),
      h("p.muted", {}, `runs at most ${duration(type.timeout_s)}${attempts}`), form.element,
      h("details", {}, h("summary", {}, "More"), h("div.schema-object", {}, options.map(({ element }) => element))),
      wrong, h("div.buttons", {}, go));
  }

  async _start(type, form, options, wrong, go) {
    wrong.hidden = true;
    go.disabled = true;
    try {
      const more = Object.fromEntries(options.map(({ name, read }) => [name, read()]).filter(([, value]) => value !== undefined));
      const task = await this._app.api.post("/tasks", { type: type.name, params: form.read(), ...more });
      if (this._closed || this._wanted !== type.name) tell("Started.", { action: taskLink(task.id) });
      else this._app.go({ view: "task", task: task.id });
    } catch (problem) {
      const left = problem.errors ? form.refuse(problem.errors) : [];
      wrong.hidden = problem.errors?.length > 0 && !left.length;
      put(wrong, h("b", {}, problem.code ?? "not started"), h("p", {}, problem.detail ?? problem.message),
        left.map(({ field, message }) => h("p", {}, `${field}: ${message}`)));
      if (this._closed || problem.status >= 500) tellProblem(problem);
      if (!wrong.hidden && left.length === (problem.errors?.length ?? 0)) wrong.focus();
    } finally {
      go.disabled = false;
    }
  }
}

function option(name, label, kind) {
  const id = `option-${name}`;
  const input = Array.isArray(kind)
    ? h("select", { id }, kind.map((each) => h("option", { value: each }, each)))
    : h("input", { id, type: kind, step: "any", min: kind === "number" ? 0 : null });
  const read = () => {
    const words = input.value.trim();
    if (!words || (name === "priority" && words === "normal")) return undefined;
    if (name === "tags") return words.split(",").map((tag) => tag.trim()).filter(Boolean);
    return kind === "number" ? Number(words) : words;
  };
  return { name, read, element: h("div.field", {}, h("label", { for: input.id }, label), input) };
}
