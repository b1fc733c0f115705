"""Start ``tokens`` on a server, and print the text as it comes: python -m examples.watch_tokens URL PROMPT"""

from __future__ import annotations

import asyncio
import sys

from streaming.client import Client


async def main(url: str, prompt: str) -> None:
    async with Client(url) as client:
        task = await client.start("tokens", {"prompt": prompt, "tokens_max": 12})
        async for event in client.watch(task.id):  # also through a restart of the server
            if event.type == "token":
                print(event.data["text"], end="", flush=True)
        record = await client.get(task.id)
        print(f"\n{record.status}: {record.result['tokens']} tokens")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    asyncio.run(main(*sys.argv[1:3]))
