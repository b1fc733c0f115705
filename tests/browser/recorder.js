// What an EventSource tells a page, written down in order; the tests read it.

const NAMES = ["CONNECTING", "OPEN", "CLOSED"];

class Recorder {
  // A faithful one does as the documentation says: after the end of an EventSource it makes a new one.
  constructor(url, types, faithful) {
    this.url = url;
    this.types = types;
    this.faithful = faithful;
    this.lastId = "0";
    this.notes = [];
    this.waiting = new Set();
    this.open(url);
  }

  open(url) {
    this.source = new EventSource(url);
    for (const type of new Set(["open", "error", "message", ...this.types])) {
      this.source.addEventListener(type, (event) => this.note(event));
    }
  }

  note(event) {
    const told = event instanceof MessageEvent; // as opposed to what EventSource itself says
    const note = { type: event.type, state: NAMES[this.source.readyState], at_ms: performance.now(), told };
    this.notes.push(told ? { ...note, id: event.lastEventId, data: event.data, origin: event.origin } : note);
    if (told) this.lastId = event.lastEventId;
    if (this.faithful && note.state === "CLOSED") {
      setTimeout(() => this.open(`${this.url}?last_event_id=${this.lastId}`), 500);
    }
    this.waiting.forEach((look) => look());
  }

  // Resolves once there are so many notes of a type, from the server (told) or from EventSource itself.
  until(type, told, count) {
    return new Promise((resolve) => {
      const look = () => {
        if (this.notes.filter((note) => note.type === type && note.told === told).length < count) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }

  // Resolves once EventSource has given up.
  untilClosed() {
    return new Promise((resolve) => {
      const look = () => {
        if (this.source.readyState !== EventSource.CLOSED) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }
}

const recorders = [];

// Follow a stream; the number of its recorder.
function follow({ url, types, faithful }) {
  return recorders.push(new Recorder(url, types, faithful)) - 1;
}

// Read one stream to its end; with `again` also through the connection after it, which gets a 204.
function readOne({ url, types, again }, common) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    const events = [];
    const take = (event) => {
      if (event instanceof MessageEvent) {
        events.push([event.lastEventId, event.type, event.data]);
      } else if (event.type === "error" && !(again && source.readyState === EventSource.CONNECTING)) {
        const state = NAMES[source.readyState];
        source.close();
        resolve({ events, state });
      }
    };
    for (const type of new Set(["error", "open", "message", ...common, ...types])) source.addEventListener(type, take);
  });
}

// Read many streams, so many at a time; the common types are listened to in each of them.
async function readAll({ jobs, width, common }) {
  const answers = [];
  let next = 0;
  const work = async () => {
    while (next < jobs.length) {
      const number = next++;
      answers[number] = await readOne(jobs[number], common);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return answers;
}
