/**
 * The log of one task, page by page, however long it is.
 *
 * The numbers of events have no holes, so the place of each in the list is its number. Pages are fetched where one looks,
 * and those that were looked at longest ago are forgotten; what comes live is put behind them.
 *
 * Owns:   which events are known.
 * Never:  holds more than `PAGES` pages, however fast events come.
 */

/** Events of one page, and pages that are kept. */
export const PAGE = 250;
const PAGES = 200;

export class EventLog {
  /** @param {function(number, number): Promise<Array<any>>} fetchPage events behind a number, so many. */
  constructor(fetchPage) {
    this._fetch = fetchPage;
    this._pages = new Map();
    this._loading = new Map();
    this._looks = 0;
    /** The number of the last event that there is. */
    this.last = 0;
    this.failed = false;
    /** Called when more is known. */
    this.onNews = () => {};
  }

  /** An event by its number; undefined as long as it is not here. */
  get(seq) {
    const page = this._pages.get(pageOf(seq));
    if (!page) return undefined;
    page.looked = this._looks += 1;
    return page.get(seq);
  }

  /** An event that has come live, or the gap that stands for some of them. */
  add(event) {
    this._keep(event);
    this.last = Math.max(this.last, event.seq);
  }

  /** So many there are at least. */
  grow(last) {
    this.last = Math.max(this.last, last);
  }

  /** Begin to fetch what is missing between two numbers. */
  want(first, last) {
    for (let page = pageOf(Math.max(1, first)); page <= pageOf(Math.max(1, last)); page += 1) {
      if (!this.whole(page)) void this.load(page).catch(() => {});
    }
  }

  whole(page) {
    const upto = Math.min(this.last, (page + 1) * PAGE);
    return (this._pages.get(page)?.size ?? 0) >= upto - page * PAGE;
  }

  /** Fetch a page, once at a time. @returns {Promise<void>} */
  load(page) {
    const known = this._loading.get(page);
    if (known) return known;
    const loading = this._load(page).finally(() => this._loading.delete(page));
    this._loading.set(page, loading);
    return loading;
  }

  async _load(page) {
    const wanted = (page + 1) * PAGE;
    let after = page * PAGE;
    try {
      while (after < Math.min(this.last, wanted)) {
        const events = await this._fetch(after, Math.min(PAGE, wanted - after));
        if (!events.length) break;
        for (const event of events) after = Math.max(after, this._keep(event));
      }
      this.failed = false;
    } catch (error) {
      this.failed = true;
      throw error;
    } finally {
      this.onNews();
    }
  }

  /** @returns {number} the number of the last event that this one stands for. */
  _keep(event) {
    if (event.type !== "gap") {
      this._pageFor(event.seq).set(event.seq, event);
      return event.seq;
    }
    const { from, to } = event.data;
    const [first, last] = [pageOf(from), pageOf(to)];
    for (let seq = from; seq <= Math.min(to, (first + 1) * PAGE); seq += 1) this._pageFor(seq).set(seq, event);
    for (let seq = Math.max(from, last * PAGE + 1); seq <= to; seq += 1) this._pageFor(seq).set(seq, event);
    return to;
  }

  _pageFor(seq) {
    const number = pageOf(seq);
    let page = this._pages.get(number);
    if (!page) {
      this._forget();
      page = new Map();
      page.looked = this._looks += 1;
      this._pages.set(number, page);
    }
    return page;
  }

  /** Make room for one page. */
  _forget() {
    while (this._pages.size >= PAGES) {
      let oldest;
      for (const [number, { looked }] of this._pages) if (!oldest || looked < oldest[1]) oldest = [number, looked];
      this._pages.delete(oldest[0]);
    }
  }

  /** An event, fetched if need be. @returns {Promise<any>} */
  async at(seq) {
    if (!this.get(seq)) await this.load(pageOf(seq));
    return this.get(seq);
  }

  /**
   * The number of the last event that happened until then; 0 before the first. Found by halving, so by few pages.
   * What is gone was before all that is there: the time of a gap is that of the question.
   */
  async lastUntil(time_ms) {
    let [low, high] = [0, this.last];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const event = await this.at(middle);
      if (!event || event.type === "gap" || Date.parse(event.time) <= time_ms) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

const pageOf = (seq) => Math.floor((seq - 1) / PAGE);
