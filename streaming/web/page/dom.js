/**
 * Elements out of words. Text is only ever text: nothing that a task says can become markup.
 *
 * Owns:   how elements are made.
 * Never:  parses HTML.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} tag its name, with classes: "div.card.wide".
 * @param {Object<string, any>} [props] attributes; functions whose names begin with "on" listen; `style` is an object.
 * @param {...(Node|string|number|null|undefined|false|Array<any>)} children what is in it; nothing where there is none.
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name || "div"), classes, props, children);
}

/** The same for SVG. @returns {SVGElement} */
export function s(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, props, children);
}

function fill(element, classes, props, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(props ?? {})) set(element, key, value);
  put(element, ...children);
  return element;
}

function set(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key === "style") for (const [name, one] of Object.entries(value)) element.style.setProperty(name, one);
  else if (key === "value") element.value = value;
  else element.setAttribute(key, value === true ? "" : String(value));
}

function shown(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

/** Put these children into an element, and nothing else. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(2).filter(shown));
  return element;
}

/** Change a text only where it differs: what stays is not drawn again, and not read out again. */
export function say(element, text) {
  const words = String(text ?? "");
  if (element.textContent !== words) element.textContent = words;
}

/** Set or remove an attribute, only where it differs. */
export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** Call `work` with the next frame, once, however often it is asked for meanwhile. */
export function perFrame(work) {
  let due = 0;
  const call = () => {
    due ||= requestAnimationFrame(() => {
      due = 0;
      work();
    });
  };
  call.stop = () => {
    cancelAnimationFrame(due);
    due = 0;
  };
  return call;
}

/** Call `work` at most once in so many milliseconds; the last call is never lost. */
export function spaced(work, apart_ms) {
  let timer = 0;
  let last = -Infinity;
  const run = () => {
    timer = 0;
    last = performance.now();
    work();
  };
  const call = () => {
    timer ||= setTimeout(run, Math.max(0, last + apart_ms - performance.now()));
  };
  call.stop = () => {
    clearTimeout(timer);
    timer = 0;
  };
  return call;
}

/** Give a text to the person as a file. */
export function download(name, text, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
