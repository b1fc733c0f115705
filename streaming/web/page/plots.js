/**
 * Plots: lines and bars over time, in SVG.
 *
 * Owns:   how numbers look as a picture, and the words for those who do not see it.
 * Never:  knows what the numbers mean.
 */

import { h, put, s } from "./dom.js";
import { clock } from "./format.js";

const [WIDTH, HEIGHT] = [600, 120];

/**
 * @param {Object} options
 * @param {string} options.title
 * @param {"line"|"bars"} [options.kind]
 * @param {number} [options.most] the top of the scale; without it the highest value.
 * @param {function(number): string} options.words a value in words.
 */
export class Plot {
  constructor({ title, kind = "line", most = 0, words }) {
    this._kind = kind;
    this._most = most;
    this._words = words;
    this._title = title;
    this._points = [];
    this._svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this._value = h("span.plot-value");
    this._scale = h("span.plot-scale");
    this._cursor = h("div.plot-cursor", { hidden: true });
    const area = h("div.plot-area", { onpointermove: (event) => this._point(event), onpointerleave: () => this._leave() },
      this._svg, this._cursor);
    this.element = h("figure.plot", {}, h("figcaption", {}, h("span", {}, title), this._scale, this._value), area);
  }

  /** @param {Array<[number, number]>} points time in ms, value @param {number} from_ms @param {number} to_ms */
  show(points, from_ms, to_ms) {
    this._points = points;
    [this._from, this._to] = [from_ms, Math.max(to_ms, from_ms + 1)];
    const top = this._most || Math.max(...points.map(([, value]) => value), 0) || 1;
    const spots = points.map(([time, value]) => [this._x(time), HEIGHT - (Math.min(value, top) / top) * (HEIGHT - 4)]);
    put(this._svg, s("title", {}, this._summary()), this._kind === "bars" ? bars(spots) : line(spots));
    this._scale.textContent = this._most || !points.length ? "" : `at most ${this._words(top)}`;
    this._leave();
  }

  /** Show where a replay is. */
  moveTo(time_ms) {
    const share = (time_ms - this._from) / (this._to - this._from);
    this._cursor.hidden = !(share >= 0 && share <= 1);
    this._cursor.style.insetInlineStart = `${share * 100}%`;
  }

  _x(time) {
    return ((time - this._from) / (this._to - this._from)) * WIDTH;
  }

  _summary() {
    const last = this._points.at(-1);
    return last ? `${this._title}: ${this._points.length} points, the last one ${this._words(last[1])}` : `${this._title}: nothing yet`;
  }

  _point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const time = this._from + ((event.clientX - box.left) / box.width) * (this._to - this._from);
    let nearest = null;
    for (const point of this._points) if (!nearest || Math.abs(point[0] - time) < Math.abs(nearest[0] - time)) nearest = point;
    if (nearest) this._value.textContent = `${this._words(nearest[1])} at ${clock(new Date(nearest[0]).toISOString())}`;
  }

  _leave() {
    const last = this._points.at(-1);
    this._value.textContent = last ? this._words(last[1]) : "";
  }
}

function line(spots) {
  if (!spots.length) return [];
  const path = spots.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const [first, last] = [spots[0][0].toFixed(1), spots.at(-1)[0].toFixed(1)];
  return [
    s("path.plot-fill", { d: `${path}L${last} ${HEIGHT}L${first} ${HEIGHT}Z` }),
    s("path.plot-line", { d: path, "vector-effect": "non-scaling-stroke" }),
  ];
}

function bars(spots) {
  const width = WIDTH / Math.max(1, spots.length);
  return spots.filter(([, y]) => y < HEIGHT).map(([x, y]) => s("rect.plot-bar", {
    x: (x - width / 2 + 0.5).toFixed(1), y: y.toFixed(1),
    width: Math.max(0.5, width - 1).toFixed(1), height: (HEIGHT - y).toFixed(1), rx: 1,
  }));
}

/** A small line without words around it. @param {Array<number>} values */
export function sparkline(values, label) {
  const top = Math.max(...values, 0) || 1;
  const x = (place) => ((place / Math.max(1, values.length - 1)) * 100).toFixed(1);
  const points = values.map((value, place) => `${x(place)},${(24 - (value / top) * 22).toFixed(1)}`);
  return s("svg.spark", { viewBox: "0 0 100 25", preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("polyline", { points: points.join(" "), "vector-effect": "non-scaling-stroke" }));
}
