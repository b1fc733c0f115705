/**
 * A form out of a JSON Schema: for the parameters of a task type.
 *
 * Rules of this file:
 *
 * - Whatever has no field of its own - a choice of objects, a list, names that the schema does not know, a value of another type
 *   than the schema's - is a field for JSON or is kept as it is: going from form to JSON and back loses nothing.
 * - What is left empty is not sent, so that the default of the handler holds; where nothing is a value, null is sent.
 * - An object that need not be there is filled in only after one has said that it shall be, so its own fields ask for nothing before.
 *
 * Owns:   the form, reading it, and showing the server's refusals at their fields.
 * Uses:   control.js (one field).
 * Never:  decides whether a value is right: the server does.
 */

import { controlOf, emptyOf, hintOf, isPlain, parseJson, textOf } from "./control.js";
import { h, mark, put } from "./dom.js";

export class SchemaForm {
  /** @param {any} schema JSON Schema of an object. @param {any} [values] to begin with. */
  constructor(schema, values = {}) {
    this._root = schema;
    this._schema = this._resolve(schema);
    this._fields = new Map();
    this._raw = h("textarea.code", { rows: 10, spellcheck: "false", "aria-label": "parameters as JSON" });
    this._raw.addEventListener("input", () => this._raw.setCustomValidity(""));
    this._form = h("fieldset.schema.bare");
    this._asJson = false;
    this.element = h("div", {}, this._tabs(), this._form, this._raw);
    this._build(values);
    this._show();
  }

  /** The parameters. @returns {any} @throws {Error} a field holds no JSON; the message says which. */
  read() {
    if (this._asJson) return parseJson(this._raw.value.trim() || "{}", "parameters");
    return this._group.read();
  }

  /**
   * Show what the server has refused, and go to the first of it.
   * @param {Array<{field: string, message: string}>} errors @returns {Array<any>} those without a field here.
   */
  refuse(errors) {
    for (const field of this._fields.values()) this._say(field, []);
    const said = new Map();
    const left = errors.filter(({ field: name, message }) => {
      const found = !this._asJson && this._fieldOf(name.replace(/^params\.?/, ""));
      if (!found) return true;
      const words = found.rest ? `${found.rest}: ${message}` : message;
      said.set(found.field, [...(said.get(found.field) ?? []), words]);
      return false;
    });
    for (const [field, words] of said) this._say(field, words);
    [...said.keys()][0]?.input.focus();
    return left;
  }

  /** The field at a path, or the one that holds it: `items.0.name` is in `items`. */
  _fieldOf(path) {
    const names = path.split(".");
    for (let many = names.length; many > 0; many -= 1) {
      const field = this._fields.get(names.slice(0, many).join("."));
      if (field?.input.isConnected) return { field, rest: names.slice(many).join(".") };
    }
    return null;
  }

  _say({ note, input }, words) {
    put(note, words.join("; "));
    mark(input, "aria-invalid", words.length ? "true" : null);
  }

  _tabs() {
    this._fieldsTab = h("button.small", { type: "button", onclick: () => this._switch(false) }, "Form");
    this._jsonTab = h("button.small", { type: "button", onclick: () => this._switch(true) }, "JSON");
    return h("div.segmented", { role: "group", "aria-label": "how to fill in" }, this._fieldsTab, this._jsonTab);
  }

  _switch(asJson) {
    if (asJson === this._asJson) return;
    try {
      const values = this.read();
      if (!asJson && !isPlain(values)) throw new Error("Only an object has fields: { … }");
      if (asJson) this._raw.value = textOf(values, 2);
      else this._build(values);
      this._asJson = asJson;
      this._show();
    } catch (error) {
      const input = this._asJson ? this._raw : error.input ?? this._jsonTab;
      input.setCustomValidity?.(error.message);
      input.reportValidity?.();
    }
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
    this._group = this._object(this._schema, values, "");
    put(this._form, this._group.element.childElementCount ? this._group.element : h("p.muted", {}, "This type takes no parameters."));
  }

  /** Follow references; what may also be null is its other half, and says so. */
  _resolve(schema) {
    let found = schema ?? {};
    for (let step = 0; found.$ref && step < 20; step += 1) {
      const path = found.$ref.replace(/^#\//, "").split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
      found = { ...path.reduce((at, name) => at?.[name], this._root), ...without(found, "$ref") };
    }
    if (found.allOf?.length === 1) return this._resolve({ ...this._resolve(found.allOf[0]), ...without(found, "allOf") });
    const choices = found.anyOf ?? found.oneOf;
    const some = choices?.map((each) => this._resolve(each)).filter(({ type }) => type !== "null");
    if (some?.length === 1) return { ...some[0], ...without(found, "anyOf", "oneOf"), nullable: choices.length > 1 };
    return some ? { ...found, choices: some, nullable: choices.length > some.length } : found;
  }

  _object(schema, values, path) {
    const required = new Set(schema.required ?? []);
    const given = isPlain(values) ? values : {};
    const parts = Object.entries(schema.properties ?? {}).map(([name, each]) => {
      const at = path ? `${path}.${name}` : name;
      const value = Object.hasOwn(given, name) ? given[name] : undefined;
      return [name, this._field(name, this._resolve(each), value, at, required.has(name))];
    });
    const known = new Set(parts.map(([name]) => name));
    const others = Object.entries(given).filter(([name]) => !known.has(name));
    const read = () => {
      const all = [...parts.map(([name, part]) => [name, part.read()]), ...others];
      return Object.fromEntries(all.filter(([, value]) => value !== undefined));
    };
    return { element: h("div.schema-object", {}, parts.map(([, part]) => part.element)), read };
  }

  _field(name, schema, value, path, required) {
    const start = value === undefined ? schema.default : value;
    const fits = start === undefined || start === null || isPlain(start);
    if (schema.type === "object" && schema.properties && fits) return this._nested(name, schema, value, path, required);
    const part = controlOf(schema, value, { path, required });
    const note = h("small.wrong", { id: `wrong-${path}`, role: "alert" });
    const field = { note, input: part.input };
    this._fields.set(path, field);
    part.input.id = `param-${path}`;
    mark(part.input, "aria-describedby", note.id);
    part.input.addEventListener("input", () => {
      this._say(field, []);
      part.input.setCustomValidity("");
    });
    const element = h("div.field", {},
      h("label", { for: part.input.id },
        name, required && h("abbr", { title: "required" }, " *"), h("span.muted", {}, ` ${hintOf(schema)}`)),
      part.input, described(schema), note);
    return { element, read: part.read };
  }

  /** An object in an object. */
  _nested(name, schema, value, path, required) {
    const start = value === undefined ? schema.default : value;
    const inside = h("fieldset.bare");
    let group = null;
    const fill = () => {
      group ??= this._object(schema, start, path);
      put(inside, group.element);
    };
    const title = schema.title ?? name;
    if (required && !schema.nullable) {
      fill();
      return { element: h("fieldset", {}, h("legend", {}, title), described(schema), inside), read: () => group.read() };
    }
    const there = h("input", { type: "checkbox", checked: isPlain(start), onchange: () => show() });
    const show = () => {
      if (there.checked) fill();
      inside.hidden = inside.disabled = !there.checked;
    };
    show();
    const nothing = emptyOf(schema, value, required);
    return {
      element: h("fieldset", {}, h("legend", {}, h("label.there", {}, there, title)), described(schema), inside),
      read: () => (there.checked ? group.read() : nothing),
    };
  }
}

const described = (schema) => schema.description && h("small.described", {}, schema.description);

const without = (value, ...names) => Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));
