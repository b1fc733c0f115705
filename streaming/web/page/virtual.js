/**
 * A list of any length, of which only what is seen is in the document.
 *
 * Rules of this file:
 *
 * - Rows have one height, so that the place of each is known without looking. Elements are used again: scrolling makes none.
 * - An element stays with its row as long as that is drawn, wherever it moves: what has the focus, or is about to be clicked,
 *   never becomes another row.
 * - The list is one stop of the Tab key; arrows, Page Up and Down, Home and End go from row to row, also to those not drawn.
 *
 * Owns:   which rows are drawn, where, and when; which of them has the focus.
 * Never:  knows what a row shows.
 */

import { h, mark, perFrame, spaced } from "./dom.js";

/** Rows that are drawn above and below what is seen. */
const MORE = 6;

/** Browsers have no element that is higher. */
const HEIGHT_MAX = 30_000_000;

export class VirtualList {
  /**
   * @param {Object} options
   * @param {number} options.rowHeight pixels of one row.
   * @param {function(): HTMLElement} options.create makes the element of a row.
   * @param {function(HTMLElement, number): void} options.update fills one with the row of this number.
   * @param {function(number): any} [options.keyOf] what makes the row of this number the same one at another place.
   * @param {string} options.label what it is, for those who do not see it.
   * @param {string} [options.role] of the list: "rowgroup" or "list".
   * @param {boolean} [options.follow] stay at the end, as long as the reader is there.
   */
  constructor({ rowHeight, create, update, keyOf = (index) => index, label, role = "list", follow = false }) {
    this.rowHeight = rowHeight;
    this.count = 0;
    this.following = follow;
    this._create = create;
    this._update = update;
    this._keyOf = keyOf;
    this._role = role;
    this._follows = follow;
    this._drawn = new Map();
    this._spare = [];
    this._body = h("div.vbody", { role: "presentation" });
    this.element = h(
      "div.vlist",
      { role, tabindex: "0", "aria-label": label, onscroll: () => this._scrolled(), onkeydown: (event) => this._key(event) },
      this._body,
    );
    this.draw = perFrame(() => this._draw());
    this._arrange = spaced(() => this._inOrder(), 300);
    this._observer = new ResizeObserver(() => this.setCount(this.count)); // also once it is in the document
    this._observer.observe(this.element);
    /** Called with the first and the last row that are drawn. */
    this.onRange = () => {};
    /** Called when the reader leaves the end, or comes back to it. */
    this.onFollow = () => {};
  }

  close() {
    this._observer.disconnect();
    this._arrange.stop();
    this.draw.stop();
  }

  /** So many rows there are. */
  setCount(count) {
    this.count = count;
    this._body.style.height = `${Math.min(HEIGHT_MAX, count * this.rowHeight)}px`;
    if (this._follows && this.following) this.element.scrollTop = this._body.offsetHeight;
    this.draw();
  }

  /** Another height for all rows. */
  setRowHeight(pixels) {
    if (pixels === this.rowHeight) return;
    this.rowHeight = pixels;
    this.setCount(this.count);
  }

  scrollTo(index, place = 0.5) {
    this.element.scrollTop = this._top(index) - (this.element.clientHeight - this.rowHeight) * place;
    this.draw();
  }

  toEnd() {
    this.following = true;
    this.setCount(this.count);
    this.onFollow(true);
  }

  get atTop() {
    return this.element.scrollTop < this.rowHeight / 2;
  }

  _scrolled() {
    if (this._follows) {
      const { scrollTop, scrollHeight, clientHeight } = this.element;
      const following = scrollTop + clientHeight >= scrollHeight - this.rowHeight;
      if (following !== this.following) this.onFollow((this.following = following));
    }
    this.draw();
  }

  /** Where a row is: at its place, or in proportion where the list is too long for a browser. */
  _top(index) {
    const whole = this.count * this.rowHeight;
    return whole <= HEIGHT_MAX ? index * this.rowHeight : (index / this.count) * HEIGHT_MAX;
  }

  _range() {
    const { scrollTop, clientHeight } = this.element;
    const step = this.count ? this._top(1) || this.rowHeight : this.rowHeight;
    const first = Math.max(0, Math.floor(scrollTop / step) - MORE);
    const rows = Math.ceil(clientHeight / this.rowHeight) + 2 * MORE;
    return [first, Math.min(this.count, first + rows)];
  }

  _draw() {
    const [first, end] = this._range();
    const keys = Array.from({ length: Math.max(0, end - first) }, (_, place) => this._keyOf(first + place));
    this._drop(new Set(keys));
    const base = this._top(first);
    keys.forEach((key, place) => this._place(key, first + place, base + place * this.rowHeight));
    for (const row of this._spare) row.hidden = true;
    this._arrange();
    if (end > first) this.onRange(first, end - 1);
  }

  /** What is not seen any more is used again; the focus stays in the list. */
  _drop(wanted) {
    for (const [key, row] of this._drawn) {
      if (wanted.has(key)) continue;
      if (row.contains(document.activeElement)) this.element.focus({ preventScroll: true });
      this._drawn.delete(key);
      this._spare.push(row);
    }
  }

  _place(key, index, top) {
    let row = this._drawn.get(key);
    if (!row) {
      row = this._spare.pop() ?? this._body.appendChild(this._create());
      row.hidden = false;
      this._drawn.set(key, row);
    }
    row.index = index;
    const transform = `translateY(${top}px)`;
    if (row.style.transform !== transform) row.style.transform = transform;
    if (this._role === "rowgroup") mark(row, "aria-rowindex", index + 2); // the first one is the head
    else {
      mark(row, "aria-posinset", index + 1);
      mark(row, "aria-setsize", this.count);
    }
    this._update(row, index);
  }

  /** Put the elements into the order in which they are seen, without moving the one that has the focus. */
  _inOrder() {
    const rows = [...this._drawn.values()].sort((one, other) => one.index - other.index);
    const now = [...this._body.children].filter((row) => !row.hidden);
    if (rows.every((row, place) => row === now[place])) return;
    const still = rows.findIndex((row) => row.contains(document.activeElement));
    rows.forEach((row, place) => {
      if (place < still) rows[still].before(row);
      else if (place !== still) this._body.append(row);
    });
  }

  // -- the keyboard ----------------------------------------------------------------------------------------------

  _key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || !this.count || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    const at = [...this._drawn.values()].find((row) => row.contains(document.activeElement))?.index;
    const from = at ?? Math.ceil(this.element.scrollTop / (this._top(1) || this.rowHeight));
    const to = at === undefined && Number.isFinite(step) ? from : from + step;
    this.focusOn(Math.min(this.count - 1, Math.max(0, to)));
  }

  /** Show a row, and put the focus on what can be pressed in it. */
  focusOn(index) {
    const top = this._top(index);
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.rowHeight > scrollTop + clientHeight) this.element.scrollTop = top + this.rowHeight - clientHeight;
    this._draw();
    this._drawn.get(this._keyOf(index))?.querySelector("a, button")?.focus({ preventScroll: true });
  }
}
