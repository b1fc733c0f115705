/**
 * Who looks at the page: the credential, and what it may do.
 *
 * Rules of this file:
 *
 * - A credential is kept for this tab only, and goes nowhere but into the header of requests to our own server.
 * - Without one it is asked for only after the server has asked.
 *
 * Owns:   the credential, the principal.
 * Never:  puts a credential into a URL, a log or a message.
 */

import { ask } from "./dialog.js";
import { h } from "./dom.js";

const KEPT = "streaming.credential";

/** What a header can carry. */
const SENDABLE = /^[\x21-\x7e]+$/;

export class Session {
  constructor() {
    /** @type {?{name: string, tenant: ?string, anonymous: boolean, scopes: Array<string>, expires_at: ?string}} */
    this.principal = null;
    /** The credential with which this window has begun, or that was given to it. */
    this.used = this.credential;
    this._asking = null;
    this._declined = false;
    /** Called when the credential has changed. */
    this.onChange = () => {};
  }

  /** Kept by the browser for this tab; where it keeps nothing, until the page is left. */
  get credential() {
    try {
      return sessionStorage.getItem(KEPT);
    } catch {
      return this._kept ?? null;
    }
  }

  set credential(value) {
    this._kept = value;
    this.used = value;
    try {
      if (value === null) sessionStorage.removeItem(KEPT);
      else sessionStorage.setItem(KEPT, value);
    } catch {
      // The browser is told to keep nothing: it is asked for again with the next page.
    }
  }

  /** @param {string} scope */
  may(scope) {
    return this.principal?.scopes.includes(scope) ?? false;
  }

  /**
   * Ask the person for a credential; several that need one at the same time ask once, and who has said no is asked no more,
   * but for those who say so.
   * @returns {Promise<boolean>} whether there is a new one.
   */
  async askFor(words, { anew = false } = {}) {
    if (this._declined && !anew) return false;
    this._asking ??= this._ask(words).finally(() => (this._asking = null));
    return this._asking;
  }

  async _ask(words) {
    const answer = await ask({
      title: "Who are you?", yes: "Go in", no: "Not now",
      keep: true,
      body: [h("p", {}, words), h("p.muted", {}, "It is kept for this tab only, and forgotten when you close it.")],
      fields: [{
        name: "credential", label: "API key or token", type: "password", required: true, max: 8192, autocomplete: "current-password",
      }],
    });
    this._declined = !answer;
    if (!answer) return false;
    const credential = answer.credential.trim();
    if (!SENDABLE.test(credential)) return this._ask("That cannot be one: keys and tokens have letters, digits and signs only.");
    this.credential = credential;
    this.onChange();
    return true;
  }

  /** Forget it; whoever calls leaves the page. */
  leave() {
    this.credential = null;
    this.principal = null;
  }
}
