"""The client's Accept decides, as RFC 9110 says; what cannot be read does not count."""

from __future__ import annotations

import pytest

from streaming.web.negotiation import RANGES_MAX, choose

SSE, NDJSON, JSON = "text/event-stream", "application/x-ndjson", "application/json"
OFFERS = (SSE, NDJSON, JSON)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, SSE),
        ("", SSE),
        ("*/*", SSE),
        ("text/event-stream", SSE),
        ("TEXT/Event-Stream", SSE),
        ("text/*", SSE),
        ("application/*", NDJSON),
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/json, text/event-stream", SSE),
        ("application/json, text/event-stream;q=0.9", JSON),
        ("application/json;q=0.2, application/x-ndjson;q=0.3", NDJSON),
        ("text/html, application/json;q=0.001", JSON),
        ("*/*;q=0.1, application/json", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", SSE),
        # The most precise range counts, not the best one.
        ("text/event-stream;q=0, */*", NDJSON),
        ("text/event-stream;q=0.1, text/*;q=1, application/json;q=0.5", JSON),
        ("application/*;q=0, application/json", JSON),
        ("application/json;q=1.000", JSON),
        ("application/json ; q = 0.5 , text/html", JSON),
        ("application/json;version=1;q=0.5", JSON),
        # Nothing fits.
        ("text/html", None),
        ("*/*;q=0", None),
        ("text/event-stream;q=0", None),
        ("image/*, text/plain;q=0.5", None),
        # What cannot be read does not count.
        ("nonsense", SSE),
        ("application/json;q=2, text/event-stream;q=x", SSE),
        ("application/json;q=-1, application/x-ndjson", NDJSON),
        (",,,", SSE),
        ("*/json", None),
    ],
)
def test_the_best_representation_is_chosen(accept: str | None, chosen: str | None) -> None:
    assert choose(accept, OFFERS) == chosen


def test_of_very_many_ranges_the_first_ones_count() -> None:
    many = ",".join(["text/plain"] * (RANGES_MAX - 1))

    assert choose(f"{many},{JSON}", [SSE, JSON]) == JSON
    assert choose(f"{many},text/html,{JSON}", [SSE, JSON]) is None
