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
    names += ["httpcore", "alembic", "sqlalchemy"]
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
