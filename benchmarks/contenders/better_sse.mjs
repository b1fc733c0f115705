// better-sse, as its documentation has it: a session for each reader, registered with a channel that broadcasts.
// Owns:  the channels.
// Never: waits for a session: the library has no way to do so.

import { pathToFileURL } from "node:url";
import { serve } from "./node_emitter.mjs";

const { createChannel, createSession } = await import(pathToFileURL(process.argv[2]));
const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, createChannel({ state: { emitted: 0 } }));
  return channels.get(name);
}

async function follow(name, request, response) {
  channel(name).register(await createSession(request, response));
  response.flushHeaders();
}

async function tell(name, data) {
  const followed = channel(name);
  followed.broadcast(data(followed.state.emitted++));
}

serve(follow, tell);
