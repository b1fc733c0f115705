"""What a worker process does: call one handler after the other, and end with its server.

It is run by its path, in a process that has nothing of the server but this file: whatever else it needs is imported
when a request names it, from where the server imports.

Owns:   the process: its signals, its standard streams, its end; the two sides of the pipes.
Never:  chooses what is called, or how often: the server does (``engine.processes``).
"""

from __future__ import annotations

import contextlib
import contextvars
import copyreg
import ctypes
import io
import os
import pickle
import runpy
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FunctionType, ModuleType
from typing import Any, BinaryIO

#: The first byte of an answer: the handler has been found, and is called now.
BEGUN = b"B"

#: Bytes of the length that stands before an answer.
SIZE_BYTES = 8

#: An answer is one of these words, and what goes with it: a value, or an exception as `_told` has it.
_RETURNED, _RAISED, _UNPREPARED = "returned", "raised", "unprepared"

#: Of the text of an exception, and of its traceback, so many characters are sent at most.
_TEXT_MAX = 65_536

_PR_SET_PDEATHSIG = 1

#: What a worker calls the server's main module.
_SCRIPT = "__mp_main__"


class Unprepared(Exception):
    """The worker could not be prepared; the cause says why."""


class InWorker(Exception):
    """Where in its process an exception was raised: the cause of what comes out of there."""


def request(
    handler: Callable[..., Any],
    arguments: dict[str, Any],
    *,
    scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    prepare: Callable[[], object] | None = None,
) -> bytes:
    """In the server: what a worker is sent.

    Args:
        handler: a function that can be imported by its name.
        arguments: what it is called with.
        scope: makes what the call is made in; can be pickled.
        prepare: called before a worker's first handler; can be pickled.

    Raises:
        Exception: something cannot be pickled.
    """
    script = None
    if handler.__module__ == "__main__":
        script = getattr(sys.modules["__main__"], "__file__", None)
        sys.modules.setdefault(_SCRIPT, sys.modules["__main__"])  # where the worker's answer says that it is from
    return pickle.dumps((sys.path, script, pickle.dumps(prepare), pickle.dumps((scope, handler, arguments))))


def result(answer: bytes) -> Any:
    """In the server: what the handler has returned.

    Raises:
        Unprepared: the handler was not called.
        BaseException: what the handler has raised, or why it could not be called, or have its result sent.
    """
    word, value = pickle.loads(answer)  # noqa: S301  # our own child has sent it
    if word == _RETURNED:
        return value
    sent, name, text, trace = value
    error = _restored(sent, name, text)
    error.__cause__ = InWorker(trace)
    if word == _UNPREPARED:
        raise Unprepared from error
    raise error


def _restored(sent: bytes, name: str, text: str) -> BaseException:
    """The exception itself, or one of its name and text: not every class comes through a pipe."""
    with contextlib.suppress(Exception):  # what a class of somebody else does there
        error = pickle.loads(sent)  # noqa: S301  # our own child has sent it
        if isinstance(error, BaseException):
            return error
    stand_in: type[Exception] = type(name, (Exception,), {})
    return stand_in(text)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    prepared = False
    while True:
        try:
            sys.path[:], script, preparation, call = pickle.load(requests)  # noqa: S301  # our own server has sent it
        except EOFError:
            return
        answer = None if prepared else _prepare(preparation)
        prepared = answer is None
        if answer is None:
            answer = _answer(script, call, answers)
        else:
            answers.write(BEGUN)
        answers.write(len(answer).to_bytes(SIZE_BYTES) + answer)
        answers.flush()


def _prepare(preparation: bytes) -> bytes | None:
    """Do what the server wants done before the first handler is called; the answer if that fails."""
    try:
        prepare = pickle.loads(preparation)  # noqa: S301  # our own server has sent it
        if prepare is not None:
            prepare()
    except BaseException as error:
        return _told(_UNPREPARED, error)
    return None


def _answer(script: str | None, call: bytes, answers: BinaryIO) -> bytes:
    """Call the handler. Whatever it raises is an answer: this process is for the next one, too."""
    try:
        if script is not None:
            _import_script(script)
        scope, handler, arguments = pickle.loads(call)  # noqa: S301  # our own server has sent it
    except BaseException as error:
        answers.write(BEGUN)
        return _told(_RAISED, error)
    answers.write(BEGUN)
    answers.flush()
    _stand_firm()
    asked = os.getpid()
    try:
        value = contextvars.copy_context().run(_call, scope, handler, arguments)
    except BaseException as error:
        if os.getpid() != asked:
            raise
        return _told(_RAISED, error)
    if os.getpid() != asked:
        raise SystemExit  # a child that the handler has forked comes back as well: it was not asked
    try:
        return _pickled((_RETURNED, value))
    except BaseException as error:  # whatever a class's own method raises
        return _told(_RAISED, error)


def _call(
    scope: Callable[[], AbstractContextManager[Any]], handler: Callable[..., Any], arguments: dict[str, Any]
) -> Any:
    with scope():
        return handler(**arguments)


def _told(word: str, error: BaseException) -> bytes:
    """An exception as an answer: itself if it can be sent, its name, its text, and where it was raised."""
    try:
        sent = _pickled(error)
    except BaseException:  # whatever a class's own method raises; then the words go alone
        sent = b""
    try:
        text = str(error)
    except BaseException:  # the same
        text = ""
    trace = "".join(traceback.format_exception(error))
    return pickle.dumps((word, (sent, type(error).__name__, text[:_TEXT_MAX], trace[-_TEXT_MAX:])))


def _pickled(value: object) -> bytes:
    written = io.BytesIO()
    _Pickler(written).dump(value)
    return written.getvalue()


class _Pickler(pickle.Pickler):
    """Lets exceptions be made again without their ``__init__``: many take other arguments than they keep."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        ordinary = isinstance(value, BaseException) and kind.__reduce__ is vars(BaseException)["__reduce__"]
        if ordinary and isinstance(kind.__init__, FunctionType):
            return copyreg.__newobj__, (kind, *value.args), vars(value) or None  # type: ignore[attr-defined]  # it is there
        return NotImplemented


def _import_script(path: str) -> None:
    """Have the server's main module, under another name: as ``multiprocessing`` does, and for the same reasons."""
    if _SCRIPT not in sys.modules:
        module = ModuleType(_SCRIPT)
        module.__dict__.update(runpy.run_path(path, run_name=_SCRIPT))
        sys.modules["__main__"] = sys.modules[_SCRIPT] = module


def _stand_firm() -> None:
    """Be moved by no signal but the one that kills.

    A Ctrl-C in a terminal, and many a service manager, signal every process at once. When a handler stops is for the
    server to decide, which kills its workers. (A signal that is caught, unlike one that is ignored, is nothing that
    the handler's own child processes inherit.)
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _unmoved)


def _unmoved(signum: int, frame: object) -> None:
    pass


def end_with_server(pipe: int, prctl: Callable[..., int] | None) -> None:
    """See that this process ends when the server does, whatever it is busy with.

    Args:
        pipe: a pipe to the server, which breaks when the server is gone.
        prctl: the system call, where there is one (Linux): then the kernel kills. Anywhere else a thread does, if the
            handler lets threads run.
    """
    if prctl is None:
        threading.Thread(target=_end_at_hangup, args=(pipe, None), daemon=True).start()
    else:
        # Bound to the thread of the server that has started us: it is the one of the loop, and lives as long.
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        _end_at_hangup(pipe, 0)  # it may have been too late


def _end_at_hangup(pipe: int, wait_ms: int | None) -> None:
    hangup = select.poll()
    hangup.register(pipe, 0)  # not for what there is to read
    if hangup.poll(wait_ms):
        os._exit(1)


def fill_standard_streams() -> None:
    """Where a standard stream is closed, open the null device, so that no other file takes its number."""
    while (nothing := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(nothing, True)
    os.close(nothing)


def main() -> None:
    """Be a worker; standard input and output are the pipes.

    The handler, and what it starts, are given others: no input, and the server's stderr.
    """
    _stand_firm()
    end_with_server(0, getattr(ctypes.CDLL(None), "prctl", None))
    fill_standard_streams()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.close(0)
    fill_standard_streams()
    os.dup2(2, 1)
    serve(requests, answers)


if __name__ == "__main__":
    main()
