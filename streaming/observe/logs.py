"""Log lines: one look for our own, for user modules and for the libraries below.

Everything ends in one handler on the root logger, on stderr: stdout belongs to the output of commands. What was bound
with ``structlog.contextvars`` (``task_id`` above all) is on every line, also on those of standard logging.

Rules of this file:

- What begins a line, moves a cursor or turns text around is escaped, wherever it comes from: nobody who is quoted in a
  line can write one of their own. What belongs to the line above it, as a traceback does, is indented.
- The query of a request is in no line: it may have a token in it.

Owns:   the configuration of structlog and of standard logging; how a text looks in a line.
Uses:   observe.redaction (what looks like a secret).
Never:  logs anything; is called by a library user who did not ask for it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import asgineer  # noqa: F401  # it installs a log handler when it is imported: it must be there to be taken away
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from streaming.config import Settings
from streaming.observe.redaction import blot

#: One line a request is noise on a server whose requests last for hours, and has its query in it.
_SILENT = ("uvicorn.access", "hypercorn.access", "gunicorn.access")

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


#: What a line has of its trace, if there is one; given the id of the task that it is about, if it is about one.
LineIds = Callable[[str | None], Mapping[str, str]]


def configure(settings: Settings, line_ids: LineIds | None = None) -> None:
    """Send all log lines to stderr in one look. May be called again with other settings.

    Args:
        settings: ``log_format`` and ``log_level``.
        line_ids: finds the trace of a line; None if nothing is traced.
    """
    merge, *rest = _SHARED
    shared = _SHARED if line_ids is None else (merge, _traced(line_ids), *rest)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.NullHandler() if sys.stderr is None else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _tame(level)


def _traced(line_ids: LineIds) -> Processor:
    """Put the ids of a line's trace into it, so that the line is found from there."""

    def traced(_logger: object, _method: str, event: EventDict) -> EventDict:
        task_id = event.get("task_id")
        event.update(line_ids(task_id if isinstance(task_id, str) else None))
        return event

    return traced


def silence_requests() -> None:
    """Write no line for each request, whatever server it is that would do so."""
    for name in _SILENT:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = False


def _rendering(settings: Settings) -> list[Processor]:
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, _blotted(structlog.processors.JSONRenderer(_to_json))]
    # Tracebacks stay plain: those with local variables show what people sent.
    console = structlog.dev.ConsoleRenderer(colors=_colourful(), exception_formatter=_traceback, pad_event_to=0)
    return [_escaped, _blotted(console)]


def _blotted(render: Processor) -> Processor:
    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return blot(str(render(logger, method, event)))

    return rendered


# -- nobody writes a line of their own ---------------------------------------------------------------------------------


class _Shown:
    """A value that looks like this."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _escaped(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape what a console would not show as a character, or take for the end of the line."""
    return {_printable(name): _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: object) -> object:
    if name in ("event", "logger", "logger_name"):
        return _printable(str(value))
    if name in ("stack", "exception"):
        return _indented(str(value))
    if isinstance(value, str):
        return value if value.isprintable() else _Shown(repr(value))
    if name == "exc_info" or isinstance(value, int | float | None):
        return value
    return _Shown(_printable(repr(value)))


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write("\n" + _indented(plain.getvalue().strip("\n")))


def _indented(lines: str) -> str:
    return "\n".join(f"  {_printable(line)}" for line in lines.split("\n"))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    """As JSON writes it, and Python reads it."""
    return json.dumps(char)[1:-1]


def _colourful() -> bool:
    """Colours are for terminals whose owner has not set NO_COLOR (no-color.org)."""
    return sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _to_json(event: object, **options: object) -> str:
    # What JSON leaves as it is although no console shows it is escaped as JSON would.
    default: Any = options["default"]  # structlog's
    return _printable(json.dumps(event, ensure_ascii=False, default=default))


def _tame(level: int) -> None:
    """Take the libraries' own handlers away, so that no line comes twice or in another look."""
    silence_requests()
    for name in _ADOPTED:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
