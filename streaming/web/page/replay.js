/**
 * A finished task, played once more: in the time that it took, ten or a hundred times as fast, or dragged along.
 *
 * Owns:   the time that is shown, and the buttons that move it.
 * Never:  knows what is drawn: it says up to which time.
 */

import { h, mark, say } from "./dom.js";
import { clock, duration } from "./format.js";

const SPEEDS = [1, 10, 100];

export class Replay {
  /** @param {function(?number): void} onMove called with a time in ms since 1970; null for "all of it". */
  constructor(onMove) {
    this._onMove = onMove;
    this._speed = 1;
    this._play = h("button.round", { type: "button", "aria-label": "play", onclick: () => this.toggle() }, "▶");
    this._slider = h("input.slider", {
      type: "range", min: 0, max: 1000, step: 1, value: 1000, "aria-label": "time", oninput: () => this._drag(),
    });
    this._words = h("output.replay-words");
    this._speeds = SPEEDS.map((speed) => h("button.small", { type: "button", onclick: () => this._setSpeed(speed) }, `${speed}×`));
    this._all = h("button.small", { type: "button", onclick: () => this.leave() }, "Whole log");
    this.element = h("div.replay", { role: "group", "aria-label": "replay" }, this._play, this._slider, this._words, this._all,
      h("div.segmented", { role: "group", "aria-label": "speed" }, this._speeds));
    this._setSpeed(1);
  }

  /** From when to when. */
  setRange(from_ms, to_ms) {
    [this._from, this._to] = [from_ms, Math.max(to_ms, from_ms + 1)];
    if (this._at === undefined) this.leave();
    else this._show();
  }

  toggle() {
    if (this._playing) this._stop();
    else {
      if (this._at === null || this._at >= this._to) this._at = this._from;
      this._playing = true;
      this._before = performance.now();
      this._frame = requestAnimationFrame(() => this._step());
    }
    this._show();
  }

  /** Show all of it. */
  leave() {
    this._stop();
    this._at = null;
    this._show();
    this._onMove(null);
  }

  close() {
    this._stop();
    this._onMove = () => {};
  }

  _stop() {
    this._playing = false;
    cancelAnimationFrame(this._frame);
  }

  _step() {
    const now = performance.now();
    this._at = Math.min(this._to, this._at + (now - this._before) * this._speed);
    this._before = now;
    this._onMove(this._at);
    if (this._at >= this._to) this._stop();
    else this._frame = requestAnimationFrame(() => this._step());
    this._show();
  }

  _drag() {
    this._stop();
    this._at = this._from + (Number(this._slider.value) / 1000) * (this._to - this._from);
    this._show();
    this._onMove(this._at);
  }

  _setSpeed(speed) {
    this._speed = speed;
    this._speeds.forEach((button, place) => mark(button, "aria-pressed", String(SPEEDS[place] === speed)));
  }

  _show() {
    const at = this._at ?? this._to;
    say(this._play, this._playing ? "❚❚" : "▶");
    mark(this._play, "aria-label", this._playing ? "pause" : "play");
    this._slider.value = String(Math.round(((at - this._from) / (this._to - this._from)) * 1000));
    mark(this._slider, "aria-valuetext", `${duration((at - this._from) / 1000)} after the start`);
    const past = duration((at - this._from) / 1000);
    say(this._words, this._at === null ? past : `${past} · ${clock(new Date(at).toISOString())}`);
    this._all.hidden = this._at === null;
  }
}
