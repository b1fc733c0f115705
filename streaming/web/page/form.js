/**
 * A form out of a JSON Schema: for the parameters of a task type.
 *
 * What a form cannot show - a choice of objects, patterns of names - is a field for JSON, so that everything can be started.
 *
 * Owns:   the form, reading it, and showing the server's refusals at their fields.
 * Never:  decides whether a value is right: the server does.
 */

import { h, mark, put } from "./dom.js";

/** Levels of objects within objects that get fields of their own. */
const LEVELS = 4;

export class SchemaForm {
  /** @param {any} schema JSON Schema of an object. @param {any} [values] to begin with. */
  constructor(schema, values = {}) {
    this._root = schema;
    this._schema = this._resolve(schema);
    this._fields = new Map();
    this._raw = h("textarea.code", { rows: 10, spellcheck: "false", "aria-label": "parameters as JSON" });
    this._form = h("fieldset.schema.bare");
    this._asJson = false;
    this.element = h("div", {}, this._tabs(), this._form, this._raw);
    this._build(values);
    this._show();
  }

  /** The parameters. @returns {any} @throws {Error} a field holds no JSON; the message says which. */
  read() {
    if (this._asJson) return parse(this._raw.value || "{}", "parameters");
    return this._group.read() ?? {};
  }

  /** Show what the server has refused. @param {Array<{field: string, message: string}>} errors @returns {Array<any>} those without a field here. */
  refuse(errors) {
    for (const { note } of this._fields.values()) put(note);
    return errors.filter(({ field, message }) => {
      const path = field.replace(/^params\.?/, "");
      const found = this._fields.get(path) ?? this._fields.get(path.replace(/\.\d+$/, ""));
      if (!found || this._asJson) return true;
      put(found.note, message);
      mark(found.input, "aria-invalid", "true");
      return false;
    });
  }

  _tabs() {
    this._fieldsTab = h("button.small", { type: "button", onclick: () => this._switch(false) }, "Form");
    this._jsonTab = h("button.small", { type: "button", onclick: () => this._switch(true) }, "JSON");
    return h("div.segmented", { role: "group", "aria-label": "how to fill in" }, this._fieldsTab, this._jsonTab);
  }

  _switch(asJson) {
    try {
      if (asJson === this._asJson) return;
      const values = this.read();
      this._asJson = asJson;
      if (asJson) this._raw.value = JSON.stringify(values, null, 2);
      else this._build(values);
      this._raw.setCustomValidity("");
    } catch (error) {
      this._raw.setCustomValidity(error.message);
      this._raw.reportValidity();
    }
    this._show();
  }

  _show() {
    this._form.hidden = this._asJson;
    this._form.disabled = this._asJson; // or what is missing in it would be in the way
    this._raw.hidden = !this._asJson;
    mark(this._fieldsTab, "aria-pressed", String(!this._asJson));
    mark(this._jsonTab, "aria-pressed", String(this._asJson));
  }

  _build(values) {
    this._fields.clear();
    this._group = this._object(this._schema, values, "", 0);
    put(this._form, this._group.element.childElementCount ? this._group.element : h("p.muted", {}, "This type takes no parameters."));
  }

  _resolve(schema) {
    let found = schema ?? {};
    for (let step = 0; found.$ref && step < 20; step += 1) {
      const path = found.$ref.replace(/^#\//, "").split("/");
      found = { ...path.reduce((at, name) => at?.[name], this._root), ...without(found, "$ref") };
    }
    const choices = found.anyOf ?? found.oneOf;
    const some = choices?.filter((each) => this._resolve(each).type !== "null");
    if (some?.length === 1) return { ...this._resolve(some[0]), ...without(found, "anyOf", "oneOf"), nullable: choices.length > 1 };
    return found;
  }

  _object(schema, values, path, level) {
    const required = new Set(schema.required ?? []);
    const parts = Object.entries(schema.properties ?? {}).map(([name, each]) => {
      const at = path ? `${path}.${name}` : name;
      return [name, this._field(name, this._resolve(each), values?.[name], at, required.has(name), level)];
    });
    return {
      element: h("div.schema-object", {}, parts.map(([, part]) => part.element)),
      read: () => {
        const found = Object.fromEntries(parts.map(([name, part]) => [name, part.read()]).filter(([, value]) => value !== undefined));
        return path && !Object.keys(found).length ? undefined : found;
      },
    };
  }

  _field(name, schema, value, path, required, level) {
    if (schema.type === "object" && schema.properties && level < LEVELS) {
      const group = this._object(schema, value ?? schema.default, path, level + 1);
      return { element: h("fieldset", {}, h("legend", {}, schema.title ?? name), described(schema), group.element), read: group.read };
    }
    const part = control(schema, value, path);
    const note = h("small.wrong", { role: "alert" });
    this._fields.set(path, { note, input: part.input });
    part.input.id = `param-${path}`;
    if (required) part.input.required = true;
    part.input.addEventListener("input", () => {
      put(note);
      mark(part.input, "aria-invalid", null);
    });
    const element = h("div.field", {},
      h("label", { for: part.input.id }, name, required && h("abbr", { title: "required" }, " *"), h("span.muted", {}, ` ${hint(schema)}`)),
      part.input, described(schema), note);
    return { element, read: part.read };
  }
}

const described = (schema) => schema.description && h("small", {}, schema.description);

const without = (value, ...names) => Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));

/** What a value may be, in a few words. */
function hint(schema) {
  const words = [schema.format ?? schema.type ?? "JSON"];
  if (schema.minimum !== undefined) words.push(`≥ ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) words.push(`> ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) words.push(`≤ ${schema.maximum}`);
  if (schema.exclusiveMaximum !== undefined) words.push(`< ${schema.exclusiveMaximum}`);
  if (schema.maxLength !== undefined) words.push(`at most ${schema.maxLength} characters`);
  if (schema.nullable) words.push("or nothing");
  return words.join(" ");
}

function control(schema, value, path) {
  const given = value ?? schema.default;
  if (schema.enum ?? schema.const !== undefined) return choice(schema.enum ?? [schema.const], given);
  if (schema.type === "boolean") {
    const input = h("input", { type: "checkbox", checked: given === true });
    return { input, read: () => (input.checked === (schema.default ?? false) && value === undefined ? undefined : input.checked) };
  }
  if (schema.type === "integer" || schema.type === "number") return number(schema, given);
  if (schema.type === "string") return text(schema, given);
  return json(given, path);
}

function choice(values, given) {
  const input = h("select", {}, h("option", { value: "" }, "–"),
    values.map((each, place) => h("option", { value: String(place), selected: each === given }, String(each))));
  return { input, read: () => (input.value === "" ? undefined : values[Number(input.value)]) };
}

function number(schema, given) {
  const input = h("input", { type: "number", step: schema.type === "integer" ? "1" : "any", min: schema.minimum, max: schema.maximum, value: given ?? "" });
  return { input, read: () => (input.value === "" ? undefined : Number(input.value)) };
}

function text(schema, given) {
  const long = (schema.maxLength ?? 0) > 500;
  const input = h(long ? "textarea" : "input", { maxlength: schema.maxLength, value: given ?? "", spellcheck: "false" });
  return { input, read: () => (input.value === "" && given === undefined ? undefined : input.value) };
}

function json(given, path) {
  const input = h("textarea.code", { rows: 3, spellcheck: "false", value: given === undefined ? "" : JSON.stringify(given) });
  return { input, read: () => (input.value.trim() === "" ? undefined : parse(input.value, path)) };
}

function parse(words, path) {
  try {
    return JSON.parse(words);
  } catch (error) {
    throw new Error(`${path} is no JSON: ${error.message}`);
  }
}
