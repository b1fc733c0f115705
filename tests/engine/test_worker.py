"""A worker answers every request, is moved by no signal, and does not outlive its server."""

from __future__ import annotations

import contextvars
import functools
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streaming.engine import worker

SOON_S = 10.0


def double(n: int) -> int:
    return 2 * n


def name_of_main(which: str) -> str:
    return str(sys.modules[which].__name__)


def fail(error: BaseException) -> None:
    raise error


def fail_with(kind: Callable[..., BaseException], args: tuple[Any, ...]) -> None:
    raise kind(*args)


class TwoArguments(Exception):
    """Takes other arguments than it keeps."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"no {place}")
        self.code = code


class Locked(Exception):
    """Holds what cannot be sent."""

    def __init__(self) -> None:
        super().__init__("no luck")
        self.lock = threading.Lock()


class Mute(Exception):
    """Neither can be sent nor has a text."""

    def __reduce__(self) -> Any:
        raise SystemExit

    def __str__(self) -> str:
        raise SystemExit


class Odd(Exception):
    """Comes back as something else."""

    def __reduce__(self) -> Any:
        return int, ("7",)


def raise_made(make: Callable[[], BaseException]) -> None:
    raise make()


def locked() -> BaseException:
    return Locked()


def mute() -> BaseException:
    return Mute("unheard")


def odd() -> BaseException:
    return Odd("strange")


def local() -> BaseException:
    class Local(Exception):
        pass

    return Local("somewhere")


def group() -> BaseException:
    return ExceptionGroup("both", [TwoArguments(1, "disk"), KeyError("count")])


PREPARED: list[str] = []


def prepare(word: str) -> None:
    PREPARED.append(word)


def prepared() -> list[str]:
    return PREPARED


SCOPE = contextvars.ContextVar("SCOPE", default="nothing")


@contextmanager
def scope_of(name: str) -> Iterator[None]:
    SCOPE.set(name)
    yield


def scoped() -> str:
    return SCOPE.get()


def leaks() -> None:
    SCOPE.set("leaked")


def strange() -> object:
    return lambda: None


def signalled() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return "unmoved"


@pytest.fixture
def _signals() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A main module, and none that a worker has made of one."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "__mp_main__", sys.modules["__main__"])
    monkeypatch.delitem(sys.modules, "__mp_main__")


def answers(*requests: bytes) -> list[bytes]:
    """What a worker says to requests; each answer begins with the word that the handler has begun."""
    written = io.BytesIO()
    worker.serve(io.BytesIO(b"".join(requests)), written)
    found, rest = [], written.getvalue()
    while rest:
        assert rest[:1] == worker.BEGUN
        size = int.from_bytes(rest[1 : 1 + worker.SIZE_BYTES])
        found.append(rest[1 + worker.SIZE_BYTES :][:size])
        rest = rest[1 + worker.SIZE_BYTES + size :]
    return found


def answer(handler: Callable[..., Any], **arguments: Any) -> Any:
    (found,) = answers(worker.request(handler, arguments))
    return worker.result(found)


@pytest.mark.usefixtures("_signals")
def test_it_answers_one_request_after_the_other() -> None:
    found = answers(worker.request(double, {"n": 1}), worker.request(double, {"n": 2}))

    assert [worker.result(each) for each in found] == [2, 4]


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("error", [KeyError("count"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_whatever_a_handler_raises_is_an_answer(error: BaseException) -> None:
    """It would end the worker, which the next handler is given."""
    with pytest.raises(type(error)):
        answer(fail, error=error)


@pytest.mark.usefixtures("_signals")
def test_a_result_that_cannot_be_sent_is_an_answer_that_says_so() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        answer(strange)


@pytest.mark.usefixtures("_signals")
def test_an_exception_that_takes_other_arguments_comes_back_as_it_was() -> None:
    with pytest.raises(TwoArguments) as caught:
        answer(fail_with, kind=TwoArguments, args=(28, "disk"))

    assert (str(caught.value), caught.value.code) == ("no disk", 28)


@pytest.mark.usefixtures("_signals")
def test_what_a_group_holds_comes_back_as_well() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        answer(raise_made, make=group)

    assert [repr(each) for each in caught.value.exceptions] == ["TwoArguments('no disk')", "KeyError('count')"]


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(
    ("make", "name", "text"),
    [(locked, "Locked", "no luck"), (mute, "Mute", ""), (local, "Local", "somewhere"), (odd, "Odd", "strange")],
)
def test_of_an_exception_that_cannot_be_sent_the_name_and_the_text_are(
    make: Callable[[], BaseException], name: str, text: str
) -> None:
    with pytest.raises(Exception) as caught:
        answer(raise_made, make=make)

    assert (type(caught.value).__name__, str(caught.value)) == (name, text)


@pytest.mark.usefixtures("_signals")
def test_an_exception_says_where_in_the_worker_it_was_raised() -> None:
    with pytest.raises(KeyError) as caught:
        answer(raise_made, make=functools.partial(KeyError, "count"))

    assert "in raise_made" in "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("_signals")
def test_it_is_prepared_once_before_its_first_handler() -> None:
    PREPARED.clear()
    request = worker.request(prepared, {}, prepare=functools.partial(prepare, "ready"))

    assert [worker.result(each) for each in answers(request, request)] == [["ready"]] * 2


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("error", [KeyError("colour"), SystemExit(3)], ids=repr)
def test_a_preparation_that_fails_is_an_answer_and_calls_no_handler(error: BaseException) -> None:
    request = worker.request(double, {"n": 1}, prepare=functools.partial(fail, error))

    for found in answers(request, request):
        with pytest.raises(worker.Unprepared) as caught:
            worker.result(found)
        assert repr(caught.value.__cause__) == repr(error)


@pytest.mark.usefixtures("_signals")
def test_each_call_has_a_scope_and_a_context_of_its_own() -> None:
    scope = functools.partial(scope_of, "mine")
    requests = worker.request(scoped, {}, scope=scope), worker.request(leaks, {}), worker.request(scoped, {})

    assert [worker.result(each) for each in answers(*requests)] == ["mine", None, "nothing"]


def test_a_handler_that_cannot_be_found_is_an_answer_that_says_so() -> None:
    request = pickle.dumps((sys.path, None, pickle.dumps(None), b"cno_such_module\nhandler\n."))
    (found,) = answers(request)

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        worker.result(found)


@pytest.mark.usefixtures("_signals")
def test_it_imports_from_where_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    ours = sys.path
    with pytest.MonkeyPatch.context() as server:
        server.setattr(sys, "path", [*ours, "/of/the/server"])
        request = worker.request(double, {"n": 1})
    answers(request)

    assert ours[-1] == "/of/the/server"


@pytest.mark.usefixtures("_signals", "_modules")
def test_a_handler_of_the_main_module_is_found_there(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has it under another name, so that what stands under ``if __name__ == "__main__"`` is not run."""
    script = tmp_path / "script.py"
    script.write_text(
        "def name() -> str:\n    return __name__\n\nif __name__ == '__main__':\n    raise SystemExit(1)\n"
    )
    call = b"(ccontextlib\nnullcontext\nc__main__\nname\n}t."
    request = pickle.dumps((sys.path, str(script), pickle.dumps(None), call))

    assert [worker.result(each) for each in answers(request, request)] == ["__mp_main__"] * 2


@pytest.mark.usefixtures("_signals", "_modules")
def test_what_comes_back_from_the_main_module_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", "/of/the/server.py", raising=False)
    monkeypatch.setattr(main, "handler", double, raising=False)
    monkeypatch.setattr(double, "__module__", "__main__")
    monkeypatch.setattr(double, "__qualname__", "handler")

    _, script, _, _ = pickle.loads(worker.request(double, {"n": 1}))  # noqa: S301  # our own

    assert script == "/of/the/server.py"
    assert sys.modules["__mp_main__"] is main


@pytest.mark.usefixtures("_signals")
def test_it_is_moved_by_no_signal_but_the_one_that_kills() -> None:
    """A Ctrl-C reaches every process of a terminal; whether a handler stops is for the server to decide."""
    assert answer(signalled) == "unmoved"


# -- as a process ------------------------------------------------------------------------------------------------------


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-u", worker.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def ask(process: subprocess.Popen[bytes], handler: Callable[..., Any], **arguments: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(worker.request(handler, arguments))
    process.stdin.flush()
    assert process.stdout.read(1) == worker.BEGUN
    return worker.result(process.stdout.read(int.from_bytes(process.stdout.read(worker.SIZE_BYTES))))


def test_it_ends_when_nobody_can_ask_any_more(process: subprocess.Popen[bytes]) -> None:
    assert ask(process, double, n=4) == 8
    assert process.communicate(timeout=SOON_S) == (b"", b"")
    assert process.returncode == 0


def prints() -> bytes:
    print("printed")
    subprocess.run(["/bin/echo", "echoed"], check=True)
    return subprocess.run(["/bin/cat"], check=True, capture_output=True).stdout


def test_what_a_handler_and_its_programs_print_is_no_answer_and_what_they_read_no_request(
    process: subprocess.Popen[bytes],
) -> None:
    assert [ask(process, prints), ask(process, double, n=4)] == [b"", 8]
    assert process.communicate(timeout=SOON_S) == (b"", b"printed\nechoed\n")


def forks(how: str) -> int:
    """Fork a child that leaves the handler as well; its exit status."""
    child = os.fork()
    if child == 0:
        if how == "raises":
            raise SystemExit(3)
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("how", "status"), [("returns", 0), ("raises", 3)])
def test_a_child_that_a_handler_forks_answers_nothing(process: subprocess.Popen[bytes], how: str, status: int) -> None:
    """Its answer would be taken for that of the next request."""
    assert [ask(process, forks, how=how), ask(process, double, n=4)] == [status, 8]
    assert process.communicate(timeout=SOON_S) == (b"", b"")


def test_it_works_without_a_stderr() -> None:
    """As a server that was started without one."""
    command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-u", worker.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert [ask(process, prints), ask(process, double, n=4)] == [b"", 8]
        assert process.communicate(timeout=SOON_S) == (b"", b"")
        assert process.returncode == 0


# -- the end of its server ---------------------------------------------------------------------------------------------


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, int, Callable[[], None]]]:
    """Set instead of an exit; a pipe to a server; and the server's end."""
    exited = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda status: exited.set())
    ours, servers = os.pipe()
    yield exited, ours, lambda: os.close(servers)
    os.close(ours)


Exits = tuple[threading.Event, int, Callable[[], None]]


def test_the_kernel_is_asked_to_kill_it(exits: Exits) -> None:
    exited, pipe, end = exits
    asked: list[tuple[int, int]] = []

    def prctl(option: int, signum: Any) -> int:
        asked.append((option, signum.value))
        return 0

    worker.end_with_server(pipe, prctl)
    assert (asked, exited.is_set()) == ([(1, signal.SIGKILL)], False)

    end()
    worker.end_with_server(pipe, prctl)
    assert exited.is_set(), "its server had gone before the kernel was asked"


def test_where_the_kernel_does_not_a_thread_sees_to_it(exits: Exits) -> None:
    exited, pipe, end = exits
    worker.end_with_server(pipe, None)
    assert not exited.is_set()

    end()
    assert exited.wait(SOON_S)
