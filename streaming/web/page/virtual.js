/**
 * A list of any length, of which only what is seen is in the document.
 *
 * Rows have one height, so that the place of each is known without looking. Elements are used again: scrolling makes none.
 *
 * Owns:   which rows are drawn, where, and when.
 * Never:  knows what a row shows.
 */

import { h, perFrame } from "./dom.js";

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
   * @param {string} options.label what it is, for those who do not see it.
   * @param {string} [options.role] of the list: "rowgroup" or "list".
   * @param {boolean} [options.follow] stay at the end, as long as the reader is there.
   */
  constructor({ rowHeight, create, update, label, role = "list", follow = false }) {
    this.rowHeight = rowHeight;
    this.count = 0;
    this.following = follow;
    this._create = create;
    this._update = update;
    this._follows = follow;
    this._drawn = new Map();
    this._spare = [];
    this._body = h("div.vbody", { role: "presentation" });
    this.element = h(
      "div.vlist",
      { role, tabindex: "0", "aria-label": label, onscroll: () => this._scrolled() },
      this._body,
    );
    this.draw = perFrame(() => this._draw());
    this._observer = new ResizeObserver(() => this.setCount(this.count)); // also once it is in the document
    this._observer.observe(this.element);
    /** Called with the first and the last row that are drawn. */
    this.onRange = () => {};
    /** Called when the reader leaves the end, or comes back to it. */
    this.onFollow = () => {};
  }

  close() {
    this._observer.disconnect();
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
    for (const [index, row] of this._drawn) {
      if (index < first || index >= end) {
        this._drawn.delete(index);
        this._spare.push(row);
      }
    }
    const base = this._top(first);
    for (let index = first; index < end; index += 1) this._place(index, base + (index - first) * this.rowHeight);
    for (const row of this._spare) row.hidden = true;
    if (end > first) this.onRange(first, end - 1);
  }

  _place(index, top) {
    let row = this._drawn.get(index);
    if (!row) {
      row = this._spare.pop() ?? this._body.appendChild(this._create());
      row.hidden = false;
      this._drawn.set(index, row);
    }
    const transform = `translateY(${top}px)`;
    if (row.style.transform !== transform) row.style.transform = transform;
    this._update(row, index);
  }
}
