"""Log lines: one look for our own, for user modules and for the libraries below.

Everything ends in one handler on the root logger, on stderr: stdout belongs to the output of commands. What was bound
with ``structlog.contextvars`` (``task_id`` above all) is on every line, also on those of standard logging.

Owns:   the configuration of structlog and of standard logging.
Never:  logs anything; is called by a library user who did not ask for it.
"""

from __future__ import annotations

import json
import logging
import os
import sys

import asgineer  # noqa: F401  # it installs a log handler when it is imported: it must be there to be taken away
import structlog
from structlog.typing import EventDict, Processor

from streaming.config import Settings

#: One line a request is noise on a server whose requests last for hours.
_SILENT = ("uvicorn.access",)

#: They log each request, or each step, of every client at a level that is meant for their own developers.
_QUIET = ("httpx", "httpcore", "alembic", "asyncio", "sqlalchemy")

#: They come with handlers of their own.
_ADOPTED = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "asgineer")


def _without_colours(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Drop the second, coloured text that uvicorn adds to its lines."""
    event.pop("color_message", None)
    return event


_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    _without_colours,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def configure(settings: Settings) -> None:
    """Send all log lines to stderr in one look. May be called again with other settings.

    Args:
        settings: ``log_format`` and ``log_level``.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.NullHandler() if sys.stderr is None else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _tame(level)


def _rendering(settings: Settings) -> list[Processor]:
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    # Tracebacks stay plain: those with local variables show what people sent.
    return [
        structlog.dev.ConsoleRenderer(
            colors=_colourful(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]


def _colourful() -> bool:
    """Colours are for terminals whose owner has not set NO_COLOR (no-color.org)."""
    return sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _to_json(event: object, **options: object) -> str:
    return json.dumps(event, ensure_ascii=False, default=options["default"])  # type: ignore[arg-type]  # structlog's


def _tame(level: int) -> None:
    """Take the libraries' own handlers away, so that no line comes twice or in another look."""
    for name in (*_ADOPTED, *_SILENT):
        logging.getLogger(name).handlers.clear()
    for name in _ADOPTED:
        library = logging.getLogger(name)
        library.propagate = True
        library.setLevel(logging.NOTSET)
    for name in _SILENT:
        logging.getLogger(name).propagate = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
