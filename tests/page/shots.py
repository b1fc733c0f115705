"""Pictures of the page for the documentation, taken of a real server in a real browser.

    python3 dev.py run python -m tests.page.shots

Owns:   what is seen on them, and where they are kept.
Never:  draws anything.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import Any

import httpx

from tests.browser.chromium import Chromium
from tests.page.sight import Sight, seen
from tests.serving import ROOT, serving

IMAGES = ROOT / "docs" / "images"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "locale": "en-GB", "device_scale_factor": 2}


async def begin(server: httpx.AsyncClient) -> dict[str, str]:
    """Tasks of all kinds, in the middle of their work."""
    ids = {
        "cancelled": await start(server, "answer_question", params={"question": "What is a cursor?", "words": 900}),
        "failed": await start(server, "crawl", params={"site": "https://news.example.com"}, tags=["nightly"]),
        "short": await start(server, "render_video", params={"title": "teaser", "frames": 60}, tags=["film"]),
    }
    await asyncio.sleep(1.5)
    await server.post(f"/tasks/{ids['cancelled']}/cancel", json={"reason": "asked the wrong question"})
    await asyncio.sleep(1)
    for number in range(4):
        await start(
            server, "render_video", params={"title": f"part-{number}", "frames": 800 + 400 * number}, tags=["film"]
        )
    for site in ("docs", "shop", "blog"):
        await start(server, "crawl", params={"site": f"https://{site}.example.com", "pages": 30}, tags=["nightly"])
    ids["running"] = await start(
        server,
        "answer_question",
        params={"question": "Why is the sky blue?", "words": 900},
        tags=["agent", "chat"],
        priority="high",
    )
    for _ in range(3):
        await start(server, "answer_question", params={"question": "And at night?", "words": 1200}, tags=["agent"])
    await asyncio.sleep(3)
    return ids


async def start(server: httpx.AsyncClient, type: str, **fields: Any) -> str:
    """Start a task, and give its id."""
    answer = await server.post("/tasks", json={"type": type, **fields})
    return str(answer.raise_for_status().json()["id"])


async def shoot(page: Sight, name: str, there: str, settle_s: float = 1.5) -> None:
    """Take a picture once something is there."""
    await page.sees(there)
    await asyncio.sleep(settle_s)
    await page.picture(IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


async def take(chromium: Chromium, url: str) -> None:
    """Take all of them."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as server:
        ids = await begin(server)
    places = {
        "list": ("?", ".vlist .trow"),
        "server": ("?view=server", ".spark"),
        "task": (f"?task={ids['running']}", ".event .type"),
        "why": (f"?task={ids['running']}&tab=why", ".sentence"),
        "failed": (f"?task={ids['failed']}", ".error-box"),
        "cancelled": (f"?task={ids['cancelled']}", ".receipt"),
        "start": ("?new=answer_question", ".schema .field"),
    }
    for scheme, (name, (place, there)) in itertools.product(("light", "dark"), places.items()):
        async with seen(chromium, url, place, color_scheme=scheme, **DESKTOP) as page:
            await shoot(page, f"page-{name}-{scheme}", there)
    for name, scheme in (("list", "light"), ("task", "dark")):
        place, there = places[name]
        async with seen(chromium, url, place, color_scheme=scheme, **PHONE) as page:
            await shoot(page, f"page-{name}-phone", there)


def main() -> None:
    """Start a server and a browser, and take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), "tests.page.work", "--grace-s", "0.1") as url,
        Chromium() as chromium,
    ):
        asyncio.run(take(chromium, url))


if __name__ == "__main__":
    main()
