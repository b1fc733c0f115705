/**
 * One field of a form: what is put into it, and what is read out of it.
 *
 * Rules of this file:
 *
 * - A number is never changed on its way: one that JavaScript cannot hold is sent as it was typed, or refused in words.
 * - A value that a field cannot show is shown as JSON.
 *
 * Owns:   the kinds of fields.
 * Never:  decides whether a value is right: the server does.
 */

import { h } from "./dom.js";

/** Texts that may be longer have more than one line. */
const LINE_CHARACTERS = 500;

/**
 * @typedef {Object} Control
 * @property {HTMLInputElement|HTMLSelectElement|HTMLTextAreaElement} input
 * @property {function(): any} read undefined where nothing is to be sent. @throws {Error} with the input, if it is no JSON.
 */

/**
 * The field for a value of this schema.
 * @param {any} schema resolved. @param {any} value undefined where there is none yet
 * @param {{path: string, required: boolean}} where
 * @returns {Control}
 */
export function controlOf(schema, value, { path, required }) {
  const given = value === undefined ? schema.default : value;
  const must = required && !schema.nullable;
  const make = kindOf(schema, given);
  return make({ schema, given, path, must, empty: emptyOf(schema, value, required), required });
}

/** What an empty field means: nothing at all; or null, where that was said, is asked for, or is not the default. */
export function emptyOf(schema, value, required) {
  const isOther = schema.default !== undefined && schema.default !== null;
  return value === null || (schema.nullable && (required || isOther)) ? null : undefined;
}

function kindOf(schema, given) {
  const isNothing = given === undefined || given === null;
  const values = choicesOf(schema);
  if (values) return isNothing || values.includes(given) ? choice : json;
  if (schema.type === "boolean") return isNothing || typeof given === "boolean" ? flag : json;
  if (schema.type === "integer" || schema.type === "number") return isNothing || isNumber(given) ? number : json;
  if (schema.type === "string") return isNothing || typeof given === "string" ? text : json;
  return json;
}

/** The values that are allowed, if they are few and simple. */
function choicesOf(schema) {
  if (schema.const !== undefined) return [schema.const];
  return schema.enum?.every((each) => typeof each !== "object" || each === null) ? schema.enum : null;
}

function choice({ schema, given, must, empty }) {
  const values = choicesOf(schema);
  const input = h("select", { required: must }, h("option", { value: "" }, "–"),
    values.map((each, place) => h("option", { value: String(place), selected: each === given }, String(each))));
  return { input, read: () => (input.value === "" ? empty : values[Number(input.value)]) };
}

/** Yes or no; where nothing is an answer too, one of three. */
function flag({ schema, given, empty, required }) {
  if (schema.nullable) return choice({ schema: { enum: [true, false] }, given, must: false, empty });
  const input = h("input", { type: "checkbox", checked: given === true });
  const unsaid = !required && given === undefined;
  return { input, read: () => (unsaid && !input.checked ? undefined : input.checked) };
}

function number({ schema, given, path, must, empty }) {
  const isWhole = schema.type === "integer";
  const value = given === undefined || given === null ? "" : textOf(given);
  const bounds = { min: schema.minimum, max: schema.maximum, step: isWhole ? "1" : "any" };
  const input = h("input", { type: "number", required: must, ...bounds, value, placeholder: placeholder(schema) });
  return { input, read: () => (input.value === "" ? empty : parseJson(plainNumber(input.value), path, input)) };
}

/** Browsers take `.5`, `+5`, `5.` and `05` for numbers; JSON does not. */
function plainNumber(words) {
  const [, sign, whole, rest, power] = /^([+-]?)(\d*)\.?(\d*)(e.*)?$/i.exec(words) ?? [];
  if (whole === undefined) return words;
  return `${sign === "-" ? "-" : ""}${whole.replace(/^0+(?=\d)/, "") || "0"}${rest ? `.${rest}` : ""}${power ?? ""}`;
}

function text({ schema, given, must, empty }) {
  const isLong = (schema.maxLength ?? 0) > LINE_CHARACTERS || /[\r\n]/.test(given ?? "");
  const input = h(isLong ? "textarea" : "input", {
    maxlength: schema.maxLength, value: given ?? "", spellcheck: "false", required: must, rows: isLong ? 4 : null,
    placeholder: placeholder(schema),
  });
  const read = () => {
    if (input.value !== "") return input.value;
    if (schema.nullable) return empty;
    return given === undefined ? undefined : ""; // it was emptied
  };
  return { input, read };
}

function json({ schema, given, path, must, empty }) {
  const isEmpty = given === undefined || (given === null && schema.nullable);
  const value = isEmpty ? "" : textOf(given);
  const input = h("textarea.code", { rows: 3, spellcheck: "false", value, required: must, placeholder: placeholder(schema) });
  return { input, read: () => (input.value.trim() === "" ? empty : parseJson(input.value, path, input)) };
}

const EXAMPLES = {
  "date-time": "2026-11-30T12:00:00Z", date: "2026-11-30", time: "12:00:00", duration: "PT5M", array: "[ … ]", object: "{ … }",
};

function placeholder(schema) {
  return EXAMPLES[schema.format] ?? EXAMPLES[schema.type] ?? (schema.examples?.length ? `such as ${textOf(schema.examples[0])}` : null);
}

/** What a value may be, in a few words. */
export function hintOf(schema) {
  const words = [nameOf(schema)];
  if (schema.minimum !== undefined) words.push(`≥ ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) words.push(`> ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) words.push(`≤ ${schema.maximum}`);
  if (schema.exclusiveMaximum !== undefined) words.push(`< ${schema.exclusiveMaximum}`);
  if (schema.multipleOf !== undefined) words.push(`in steps of ${schema.multipleOf}`);
  if (schema.minLength) words.push(`at least ${schema.minLength} characters`);
  if (schema.maxLength !== undefined) words.push(`at most ${schema.maxLength} characters`);
  if (schema.minItems) words.push(`at least ${schema.minItems}`);
  if (schema.maxItems !== undefined) words.push(`at most ${schema.maxItems}`);
  if (schema.nullable) words.push("or nothing");
  return words.join(" ");
}

function nameOf(schema) {
  if (schema.choices) return `JSON: ${schema.choices.map((each) => each.title ?? each.format ?? each.type ?? "anything").join(" or ")}`;
  if (schema.enum ?? schema.const !== undefined) return "one of these";
  if (schema.type === "array") return `JSON list${schema.items?.type ? ` of ${schema.items.type}` : ""}`;
  if (schema.type === "object") return "JSON object";
  return schema.format ?? schema.type ?? "JSON";
}

export const isPlain = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON?.(value);

const isNumber = (value) => typeof value === "number" || Boolean(JSON.isRawJSON?.(value));

/** A value as JSON; also a number that was kept as it was typed. */
export const textOf = (value, indent) => JSON.stringify(value, null, indent);

/**
 * Read JSON without changing its numbers.
 * @param {string} words @param {string} path what it is, for the message @param {HTMLElement} [input] in which it was typed
 * @throws {Error} it is no JSON, or holds a number that cannot be sent as it is.
 */
export function parseJson(words, path, input) {
  try {
    return JSON.parse(words, (_, value, context) => (typeof value === "number" ? exactly(value, context?.source) : value));
  } catch (error) {
    const reason = error instanceof RangeError ? error.message : `is no JSON: ${error.message}`;
    throw Object.assign(new Error(`${path} ${reason}`), { input });
  }
}

/** Browsers that keep the source of a number send it as it is; in others one beyond 2^53 would be another number. */
function exactly(value, source) {
  if (!Number.isInteger(value) && Number.isFinite(value)) return value;
  if (Number.isSafeInteger(value)) return value;
  if (source && JSON.rawJSON) return JSON.rawJSON(source);
  throw new RangeError("holds a number that this browser would change: start it by curl or a program");
}
