"""A handler that passes on what a language model says over HTTP, token by token; and a little model to try it with.

The operator says where the model is: ``LLM_URL``. It is asked with ``{"prompt": "..."}``, and answers in chunks, a line
of JSON for each token. Run as a program, this file is such a model: ``python -m examples.llm 8077``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import httpx
from pydantic import Field

from streaming import HandlerError, TaskContext, task

LLM_URL = "http://127.0.0.1:8077/"


@task(timeout_s=300, heartbeat_timeout_s=60)
async def llm(ctx: TaskContext, prompt: Annotated[str, Field(min_length=1, max_length=4000)]) -> dict[str, Any]:
    """Ask a language model, and stream its answer."""
    said: list[str] = []
    try:
        # A cancel closes the connection, and so the model stops as well.
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(10, read=30)) as client,
            client.stream("POST", os.environ.get("LLM_URL", LLM_URL), json={"prompt": prompt}) as answer,
        ):
            if answer.status_code != 200:
                raise HandlerError("model_refused", f"The model answered {answer.status_code}.")
            async for line in answer.aiter_lines():
                said.append(json.loads(line)["token"])
                await ctx.emit("token", {"text": said[-1]})
    except httpx.HTTPError as error:
        # `streaming run llm --retries 3 --retry-on model_lost` tries again; readers see where the new attempt begins.
        raise HandlerError("model_lost", f"The model went away: {type(error).__name__}.") from error
    except asyncio.CancelledError:
        return {"text": "".join(said), "complete": False}
    return {"text": "".join(said), "complete": True}


# -- a model to try it with --------------------------------------------------------------------------------------------


class Model(BaseHTTPRequestHandler):
    """Says the prompt again, word by word."""

    protocol_version = "HTTP/1.1"
    pause_s = 0.1

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["content-length"])))["prompt"]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for word in ("You", "said:", *prompt.split()):
                self._chunk(json.dumps({"token": f"{word} "}).encode() + b"\n")
                time.sleep(self.pause_s)
            self._chunk(b"")
        except ConnectionError:
            self.close_connection = True  # nobody listens any more

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
