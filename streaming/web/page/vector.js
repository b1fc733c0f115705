/**
 * The place of a reader in several channels: `f=1234;l=TASK:17`, as `GET /watch` sends it with each event.
 *
 * Owns:  reading and writing it.
 * Never: knows what is wanted.
 */

/**
 * @typedef {object} Vector
 * @property {number | null} feed position in the feed; null if it is not followed
 * @property {Map<string, number>} logs seq by task id
 */

/**
 * Read a vector as the server sends it.
 * @param {string} text
 * @returns {Vector}
 */
export function parseVector(text) {
  /** @type {Vector} */
  const vector = { feed: null, logs: new Map() };
  for (const part of text === "" ? [] : text.split(";")) {
    const found = /^(?:f=(\d{1,18})|l=([0-9a-f]{32}):(\d{1,18}))$/.exec(part);
    if (found === null) throw new SyntaxError(`${JSON.stringify(part.slice(0, 64))} is no part of a cursor`);
    if (found[1] !== undefined) vector.feed = Number(found[1]);
    else vector.logs.set(found[2], Number(found[3]));
  }
  return vector;
}

/**
 * Write a vector as the server wants it: the feed first, then the logs in the order of their ids.
 * @param {Vector} vector
 * @returns {string} empty if there is no place in any channel
 */
export function writeVector({ feed, logs }) {
  const parts = [...logs].sort(([one], [other]) => (one < other ? -1 : 1)).map(([id, seq]) => `l=${id}:${seq}`);
  return [...(feed === null ? [] : [`f=${feed}`]), ...parts].join(";");
}
