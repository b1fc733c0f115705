// What the client tells a page, written down; the tests read it.

window.heard = { items: [], states: [], errors: [] };
window.addEventListener("error", (event) => heard.errors.push(event.message));
window.addEventListener("unhandledrejection", (event) => heard.errors.push(String(event.reason)));

const brief = (item) => ({
  kind: item.kind,
  channel: item.channel,
  task: item.taskId,
  seq: item.event?.seq ?? item.seq ?? null,
  type: item.event?.type ?? null,
  position: item.position ?? null,
  text: item.event ? JSON.stringify(item.event) : null,
  code: item.problem?.code ?? null,
});

const listeners = {
  onEvent: (item) => heard.items.push(brief(item)),
  onState: ({ state, attempt, seconds, problem }) =>
    heard.states.push({ state, attempt, seconds, code: problem?.code ?? null }),
};

// All tests go through these, so that each of them is about the client and not about this page.
window.drive = {
  async client(options = {}) {
    const { Client, shared } = await import("/page/client.js");
    window.client = new Client(options);
    window.share = (name, more) => (window.connection = shared(window.client, name, { ...more, ...listeners }));
  },
  connect(options) {
    window.connection = window.client.connect({ ...options, ...listeners });
  },
  watch(id, options = {}) {
    window.leaving = new AbortController();
    const events = window.client.watch(id, { signal: leaving.signal, onState: listeners.onState, ...options });
    window.watching = (async () => {
      for await (const event of events) listeners.onEvent({ kind: "event", channel: "log", taskId: id, event });
      return "over";
    })().catch((error) => `${error.name} ${error.code ?? ""} ${error.message}`);
  },
};
