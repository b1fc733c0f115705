"""All log lines look alike, go to stderr, and know their task."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from streaming.config import Settings
from streaming.observe.logs import configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Put back what `configure` changes for the whole process."""
    names = ["", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "asgineer", "httpx", "asyncio"]
    names += ["httpcore", "alembic", "sqlalchemy", "hypercorn.access", "gunicorn.access"]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in map(logging.getLogger, names)]
    config = structlog.get_config()
    configured = structlog.is_configured()
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    if configured:
        structlog.configure(**config)
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_of_structlog_and_of_logging_look_alike_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_format="json"))
    structlog.contextvars.bind_contextvars(task_id="abc")
    structlog.get_logger("ours").info("one\ntwo", n=1, odd=object)
    logging.getLogger("theirs").info("number %d", 2, extra={"n": 2})

    first, second = lines(capsys)
    assert (first["event"], first["n"], first["level"], first["logger"]) == ("one\ntwo", 1, "info", "ours")
    assert (second["event"], second["n"], second["level"], second["logger"]) == ("number 2", 2, "info", "theirs")
    assert first["task_id"] == second["task_id"] == "abc"
    assert set(first) - {"odd"} == set(second)
    assert str(first["timestamp"]).endswith("Z")


def test_json_is_one_line_with_the_traceback_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_format="json"))
    try:
        raise ZeroDivisionError("é")
    except ZeroDivisionError:
        secret = "never shown"
        structlog.get_logger("ours").exception("oops")
        logging.getLogger("theirs").exception("oops")
    for line in lines(capsys):
        assert secret not in str(line)
        assert "ZeroDivisionError: é" in str(line["exception"])


def test_the_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings())
    structlog.contextvars.bind_contextvars(task_id="abc")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        secret = "never shown"
        structlog.get_logger("ours").exception("oops", text="a\nb")
    text = capsys.readouterr().err
    assert "oops" in text.splitlines()[0]
    assert "task_id=abc" in text.splitlines()[0]
    assert "text='a\\nb'" in text.splitlines()[0]
    assert "Traceback" in text
    assert secret not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    no_color: str | None, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure(Settings())
    structlog.get_logger("ours").info("hello")
    assert ("\x1b[" in terminal.getvalue()) is coloured


@pytest.mark.parametrize(("level", "shown"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")])
def test_lines_below_the_level_are_left_out(level: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings.model_validate({"log_format": "json", "log_level": level}))
    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs"), logging.getLogger("uvicorn.error")):
        logger.debug("d")
        logger.info("i")
        logger.warning("w")
        logger.error("e")
    assert "".join(str(line["event"]) for line in lines(capsys)) == shown * 3


@pytest.mark.parametrize("passed_on", [True, False], ids=["as logging has it", "as uvicorn sets it"])
def test_the_libraries_handlers_are_taken_away_and_access_lines_with_them(
    passed_on: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("uvicorn", "uvicorn.access", "asgineer"):
        library = logging.getLogger(name)
        library.addHandler(logging.StreamHandler(sys.stderr))
        library.propagate = passed_on
        library.setLevel(logging.ERROR)
    configure(Settings(log_format="json"))
    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted"})
    logging.getLogger("asgineer").info("asgineer too")
    logging.getLogger("uvicorn.access").info("GET /")
    shown = lines(capsys)
    assert [line["event"] for line in shown] == ["started", "asgineer too"]
    assert "color_message" not in shown[0]
    assert not logging.getLogger("uvicorn.access").hasHandlers()  # so that uvicorn does not even format them


def test_chatty_libraries_speak_up_only_when_it_matters(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_format="json", log_level="debug"))
    for name in ("httpx", "httpcore", "alembic", "asyncio", "sqlalchemy"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning(name)
    assert len(lines(capsys)) == 5


def test_configuring_again_replaces_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings())
    configure(Settings(log_format="json"))
    structlog.get_logger("ours").info("once")
    assert [line["event"] for line in lines(capsys)] == ["once"]


def test_stdout_stays_free_for_output() -> None:
    script = (
        "import structlog; from streaming.config import Settings; from streaming.observe.logs import configure;"
        "configure(Settings()); structlog.get_logger('x').info('to stderr'); print('to stdout')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=True
    )
    assert done.stdout == "to stdout\n"
    assert "to stderr" in done.stderr


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_without_a_stderr_nothing_is_said_and_nothing_fails(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been closed by whoever started the process: then Python has none."""
    monkeypatch.setattr(sys, "stderr", None)
    configure(Settings.model_validate({"log_format": log_format}))
    structlog.get_logger("ours").info("unheard")
    logging.getLogger("theirs").info("unheard")


# -- nobody writes a line of their own --------------------------------------------------------------------------------

#: What begins a line somewhere, moves a cursor, colours, hides or turns around what is shown.
AWKWARD = [
    "\n2026-11-29 [info ] forged",
    "\r2026-11-29 [info ] forged",
    "\x1b[31mred\x1b[0m",
    "\x1b[2K\x1b[1A",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x00",
    "\x08\x08",
    "\x0b\x0c\x1c\x1d\x1e",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    "\u202e\u2066",
    "\u200b",
    "\ud800",
]


def seen(log_format: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines as whoever reads them takes them; none has anything in it that a console does not show."""
    text = capsys.readouterr().err
    assert text.endswith("\n")
    lines = text.removesuffix("\n").split("\n")
    for line in lines:
        assert line.isprintable(), repr(line)
        assert len(line.splitlines()) <= 1
    if log_format == "json":
        for line in lines:
            json.loads(line)
    return lines


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_no_text_of_a_stranger_begins_a_line_or_changes_how_it_looks(
    text: str, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands: as a value, in one, as the name of one, in the text, in what is bound."""
    configure(Settings.model_validate({"log_format": log_format}))
    structlog.contextvars.bind_contextvars(task_id=text)
    structlog.get_logger("ours").info(f"a {text}", value=text, inside=[{"a": text}], odd=Odd(text), **{f"n{text}": 1})
    logging.getLogger("theirs").info("said %s", text, extra={"n": text})
    logging.getLogger(f"theirs{text}").warning("b")

    assert len(seen(log_format, capsys)) == 3


class Odd:
    """A thing of a stranger that shows itself as it likes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_an_exception_with_a_text_of_a_stranger_belongs_to_its_line(
    text: str, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(Settings.model_validate({"log_format": log_format}))
    try:
        try:
            raise KeyError(text)
        except KeyError:
            raise ValueError(f"a {text}\nb") from None
    except ValueError:
        structlog.get_logger("ours").exception("oops", stack_info=True)
        logging.getLogger("theirs").exception("oops")
    structlog.get_logger("ours").info("given", exception=f"x{text}", stack=f"y{text}")

    found = seen(log_format, capsys)
    begun = [line for line in found if not line.startswith("  ") and line and set(line) != {"="}]
    assert len(begun) == 3, "whatever else there is is indented"


def test_json_says_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_format="json"))
    for text in AWKWARD:
        structlog.get_logger("ours").info(text, value=text)

    assert [(line["event"], line["value"]) for line in lines(capsys)] == [(text, text) for text in AWKWARD]


def test_what_can_be_shown_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings())
    structlog.get_logger("ours").info("Grüße", name="Zoë", many=["é", 1], none=None, yes=True, path=os, n=1.5)

    text = capsys.readouterr().err
    for part in ("Grüße", "name=Zoë", "many=['é', 1]", "none=None", "yes=True", "path=<module 'os'", "n=1.5"):
        assert part in text


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_secret_is_blotted_out_wherever_it_stands(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings.model_validate({"log_format": log_format}))
    key, token = "strm_3f2a9c_c2VjcmV0", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2VjcmV0"
    try:
        raise ValueError(f"GET /events?stream_token={token}")
    except ValueError:
        structlog.get_logger("ours").exception(f"failed with {key}", url=f"/x?stream_token={token}", inside=[key])
    logging.getLogger("theirs").warning("Authorization: Bearer %s", token)

    text = "\n".join(seen(log_format, capsys))
    assert "***" in text
    assert "c2VjcmV0" not in text
    assert "eyJ" not in text


@pytest.mark.parametrize("name", ["uvicorn.access", "hypercorn.access", "gunicorn.access"])
def test_no_server_writes_a_line_for_each_request(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    access = logging.getLogger(name)
    access.addHandler(logging.StreamHandler(sys.stderr))
    access.setLevel(logging.INFO)
    configure(Settings())
    access.info('127.0.0.1 - "GET /tasks?secret=c2VjcmV0 HTTP/1.1" 200')

    assert capsys.readouterr().err == ""
