// Node's own http module: the frame is made once, and written to every response.
// Owns:  the responses of each channel.
// Never: goes on to the next event while a response is full.

import { once } from "node:events";
import { serve } from "./node_emitter.mjs";

const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, { responses: new Set(), emitted: 0 });
  return channels.get(name);
}

async function follow(name, request, response) {
  const { responses } = channel(name);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.flushHeaders();
  responses.add(response);
  response.on("close", () => responses.delete(response));
}

async function tell(name, data) {
  const { responses, emitted } = channel(name);
  channel(name).emitted += 1;
  const frame = Buffer.from(`data: ${JSON.stringify(data(emitted))}\n\n`);
  const full = [];
  for (const response of responses) if (!response.write(frame)) full.push(response);
  for (const response of full) if (response.writableNeedDrain) await once(response, "drain");
}

serve(follow, tell);
