// The inside of a Node peer: the routes, the pace of an emission, the data of an event.
// Owns:  the server, and one emission for each channel.
// Never: knows how an event reaches its readers: `follow` and `tell` come from the server program.

import http from "node:http";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";

async function pace(name, job, after_ms, tell) {
  const begin = Math.max(job.start_at * 1000, Date.now()) + after_ms;
  await sleep(begin - Date.now());
  for (let number = 0; number < job.events; number++) {
    if (job.rate) {
      const wait = begin + (1000 * number) / job.rate - Date.now();
      if (wait > 0) await sleep(wait);
    } else {
      await turn();
    }
    await tell(name, (n) => ({ n, at: (performance.timeOrigin + performance.now()) / 1000 }));
  }
}

async function read(request) {
  let text = "";
  for await (const piece of request) text += piece;
  return JSON.parse(text);
}

export function serve(follow, tell) {
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, "http://bench");
    if (url.pathname === "/stream") {
      await follow(url.searchParams.get("channel"), request, response);
      return;
    }
    if (url.pathname === "/emit") {
      const job = await read(request);
      const spread_ms = job.rate ? 1000 / job.rate / job.channels.length : 0;
      job.channels.forEach((name, number) => pace(name, job, number * spread_ms, tell));
      response.statusCode = 202;
    }
    response.setHeader("content-length", 0);
    response.end();
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 2048 }, () => {
    console.log(`http://127.0.0.1:${server.address().port}`);
  });
}
