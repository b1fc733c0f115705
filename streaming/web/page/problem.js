/**
 * What a server refuses, as it says it (RFC 9457).
 *
 * Owns:  `Problem`, and which of them may pass by themselves.
 * Never: asks again.
 */

/** Statuses of answers that another try may change. */
const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A refusal of the server, or what no answer is (status 0). */
export class Problem extends Error {
  /**
   * @param {object} fields
   * @param {string} fields.code for programs: `task_terminal`, `unauthenticated`, ...
   * @param {number} [fields.status] of the answer; 0 if there was none
   * @param {string} [fields.detail] for people
   * @param {{field: string, message: string}[]} [fields.errors] what is wrong with which field
   * @param {number | null} [fields.retryAfterS] when to ask again, as the server said
   * @param {unknown} [fields.cause]
   */
  constructor({ code, status = 0, detail = "", errors = [], retryAfterS = null, cause = undefined }) {
    super(detail || code, cause === undefined ? undefined : { cause });
    this.name = "Problem";
    this.code = code;
    this.status = status;
    this.detail = detail;
    this.errors = errors;
    this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may be answered otherwise a little later. */
  get temporary() {
    return this.status === 0 || TEMPORARY.has(this.status);
  }
}

/**
 * What an answer that is none of those that were hoped for says.
 * @param {Response} response
 * @returns {Promise<Problem>}
 */
export async function problemOf(response) {
  const text = await response.text();
  const status = response.status;
  const seconds = Number(response.headers.get("retry-after") ?? NaN);
  const retryAfterS = Number.isFinite(seconds) ? seconds : null;
  const said = parsed(text);
  if (typeof said?.code !== "string") {
    // Somebody between us and the server has answered, in words of their own.
    return new Problem({ code: "unexpected_answer", status, detail: `${status}: ${text.slice(0, 200)}`, retryAfterS });
  }
  return new Problem({ code: said.code, status, detail: said.detail, errors: said.errors, retryAfterS });
}

/**
 * @param {string} text
 * @returns {any} null if it is no JSON
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * A request that got no answer.
 * @param {unknown} cause
 */
export function unreachable(cause) {
  return new Problem({ code: "unreachable", detail: "The server cannot be reached.", cause });
}
