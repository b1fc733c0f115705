// A server that exists only as a `fetch`: each answer is what the test says.

/** Answers requests one after the other, and notes them. */
export class Server {
  requests = [];
  #answers = [];

  /** The next answer: a function of the request, or a stream of these pieces that stays open unless `end` says so. */
  answer(...answers) {
    this.#answers.push(...answers);
    return this;
  }

  fetch = async (url, { headers = {}, signal, method = "GET" } = {}) => {
    this.requests.push({ url, method, cursor: headers["last-event-id"] ?? null, token: headers.authorization ?? null });
    const answer = this.#answers.length > 1 ? this.#answers.shift() : this.#answers[0];
    return answer(signal);
  };
}

/** A stream of these pieces. */
export function stream(pieces, { end = true, error = null } = {}) {
  return (signal) => {
    const left = pieces.map((piece) => new TextEncoder().encode(piece));
    const body = new ReadableStream({
      start(controller) {
        signal?.addEventListener("abort", () => {
          if (!end && !error) controller.error(signal.reason);
        });
      },
      pull(controller) {
        if (left.length > 0) controller.enqueue(left.shift());
        else if (error) controller.error(error);
        else if (end) controller.close();
        else return new Promise(() => {});
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  };
}

/** A refusal. */
export function refuse(status, code, headers = {}) {
  return () => new Response(JSON.stringify({ code, detail: code, errors: [] }), { status, headers });
}

export const nothing = () => new Response(null, { status: 204 });

export const broken = () => {
  throw new TypeError("fetch failed");
};

/** The block of one event. */
export function block(seq, type = "tick", data = {}) {
  const event = { seq, task_id: "a".repeat(32), type, time: "", data };
  return `id: ${seq}\nevent: ${type}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** So that nobody waits for pauses. */
export const QUICK = "retry: 4\n";
