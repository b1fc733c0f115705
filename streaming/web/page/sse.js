/**
 * Server-sent events, out of the bytes of a response.
 *
 * Source: WHATWG HTML standard, sections 9.2.5 and 9.2.6. What it says of an event without data holds: there is none.
 *
 * Owns:  bytes -> blocks; what is in the middle of one.
 * Never: opens a connection.
 */

/**
 * One event as it was sent.
 * @typedef {object} Block
 * @property {string} id last id of the stream so far
 * @property {string} event its type; "message" where none was sent
 * @property {string} data
 */

/** Reads one stream, piece by piece; a piece may end anywhere, in the middle of a character as well. */
export class Parser {
  /** Milliseconds to wait before coming back, as the server has said; null before that. @type {number | null} */
  retryMs = null;

  #decoder = new TextDecoder(); // it takes a byte order mark in front away
  #rest = "";
  #afterReturn = false; // the last character was CR: a LF that follows belongs to it
  #id = "";
  #idOfBlock = "";
  #event = "";
  /** @type {string[]} */
  #data = [];

  /**
   * Read the next piece.
   * @param {Uint8Array} piece
   * @returns {Block[]} the events that are whole now
   */
  push(piece) {
    /** @type {Block[]} */
    const blocks = [];
    const text = this.#rest + this.#decoder.decode(piece, { stream: true });
    let begin = 0;
    let at = this.#rest.length;
    for (; at < text.length; at += 1) {
      const character = text[at];
      if (character === "\n" && this.#afterReturn && at === begin) {
        begin += 1;
        this.#afterReturn = false;
      } else if (character === "\n" || character === "\r") {
        this.#line(text.slice(begin, at), blocks);
        begin = at + 1;
        this.#afterReturn = character === "\r";
      } else {
        this.#afterReturn = false;
      }
    }
    this.#rest = text.slice(begin);
    return blocks;
  }

  /**
   * @param {string} line
   * @param {Block[]} blocks
   */
  #line(line, blocks) {
    if (line === "") {
      this.#dispatch(blocks);
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#idOfBlock = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
  }

  /** @param {Block[]} blocks */
  #dispatch(blocks) {
    this.#id = this.#idOfBlock;
    if (this.#data.length > 0) {
      blocks.push({ id: this.#id, event: this.#event || "message", data: this.#data.join("\n") });
    }
    this.#data = [];
    this.#event = "";
  }
}
