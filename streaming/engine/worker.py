"""What a worker process does: call one handler after the other, and end with its server.

It is run by its path, in a process that has nothing of the server but this file: whatever else it needs is imported
when a request names it, from where the server imports.

Owns:   the process: its signals, its standard streams, its end; the two sides of the pipes.
Never:  chooses what is called, or how often: the server does (``engine.processes``).
"""

from __future__ import annotations

import ctypes
import os
import pickle
import runpy
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, BinaryIO

#: The first byte of an answer: the handler has been found, and is called now.
BEGUN = b"B"

#: Bytes of the length that stands before an answer.
SIZE_BYTES = 8

_PR_SET_PDEATHSIG = 1

#: What a worker calls the server's main module.
_SCRIPT = "__mp_main__"


def request(handler: Callable[..., Any], arguments: dict[str, Any]) -> bytes:
    """In the server: what a worker is sent.

    Args:
        handler: a function that can be imported by its name.
        arguments: what it is called with.

    Raises:
        Exception: something cannot be pickled.
    """
    script = None
    if handler.__module__ == "__main__":
        script = getattr(sys.modules["__main__"], "__file__", None)
        sys.modules.setdefault(_SCRIPT, sys.modules["__main__"])  # where the worker's answer says that it is from
    return pickle.dumps((sys.path, script, pickle.dumps((handler, arguments))))


def result(answer: bytes) -> Any:
    """In the server: what the handler has returned.

    Raises:
        BaseException: what the handler has raised, or why it could not be called, or have its result sent.
    """
    returned, value = pickle.loads(answer)  # noqa: S301  # our own child has sent it
    if returned:
        return value
    raise value


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while True:
        try:
            sys.path[:], script, call = pickle.load(requests)  # noqa: S301  # our own server has sent it
        except EOFError:
            return
        answer = _answer(script, call, answers)
        answers.write(len(answer).to_bytes(SIZE_BYTES) + answer)
        answers.flush()


def _answer(script: str | None, call: bytes, answers: BinaryIO) -> bytes:
    """Call the handler. Whatever it raises is an answer: this process is for the next one, too."""
    try:
        if script is not None:
            _import_script(script)
        handler, arguments = pickle.loads(call)  # noqa: S301  # our own server has sent it
    except BaseException as error:
        answers.write(BEGUN)
        return _pickled(False, error)
    answers.write(BEGUN)
    answers.flush()
    _stand_firm()
    try:
        return _pickled(True, handler(**arguments))
    except BaseException as error:
        return _pickled(False, error)


def _pickled(returned: bool, value: object) -> bytes:
    try:
        return pickle.dumps((returned, value))
    except BaseException as error:  # whatever a class's own method raises
        return pickle.dumps((False, error))


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


def main() -> None:
    """Be a worker; standard input and output are the pipes.

    The handler, and what it starts, are given others: no input, and the server's stderr.
    """
    _stand_firm()
    end_with_server(0, getattr(ctypes.CDLL(None), "prctl", None))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    serve(requests, answers)


if __name__ == "__main__":
    main()
