"""The command that proves that a handler stands a cancel.

Owns:   its options, which handler a name means, its bar, its exit status; that only the verdict goes to stdout.
Uses:   testing.sweeping (the proof).
Never:  needs a server; stores anything.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streaming.cli.exits import Exit
from streaming.cli.output import Output, print_document, printable, say
from streaming.errors import InvalidTaskType

if TYPE_CHECKING:
    from streaming.config import Settings
    from streaming.testing.verdict import Verdict

#: The descriptors that every program inherits.
STDOUT, STDERR = 1, 2

#: Options that a finding has for itself, or that change nothing of what is found.
_NOT_AGAIN = frozenset({"fault", "point", "output"})

Format = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.", show_default=True)
]


Handler = Annotated[
    str, typer.Argument(metavar="HANDLER", help="module:function, or a built-in type.", show_default=False)
]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=VALUE", help="Parameters; values are JSON or else text.", show_default=False),
]
ParamJson = Annotated[str | None, typer.Option(help="More parameters, as one JSON object.", show_default=False)]
Faults = Annotated[
    list[str] | None, typer.Option("--fault", help="Only this fault; may be repeated.", show_default="all of them")
]
OnePoint = Annotated[int | None, typer.Option("--point", min=1, help="Only this await.", show_default=False)]
Ends = Annotated[str, typer.Option(help="How it is meant to end when nothing happens to it.")]
PointsMax = Annotated[int, typer.Option("--points", min=1, help="Awaits that are tried, at most.")]
Seed = Annotated[int | None, typer.Option(help="Permute the order of ready tasks.", show_default=False)]
GraceS = Annotated[float | None, typer.Option(help="Seconds for its cleanup.", show_default="STREAMING_CANCEL_GRACE_S")]
TimeoutS = Annotated[float | None, typer.Option(help="Seconds it may run.", show_default=False)]
PatienceS = Annotated[float, typer.Option(min=0, help="Real seconds to wait for a socket, thread or process.")]


def prove(
    context: typer.Context,
    handler: Handler,
    words: Words = None,
    param_json: ParamJson = None,
    fault: Faults = None,
    point: OnePoint = None,
    ends: Ends = "completed",
    points: PointsMax = 200,
    seed: Seed = None,
    grace_s: GraceS = None,
    timeout_s: TimeoutS = None,
    patience_s: PatienceS = 10.0,
    output: Format = Output.TEXT,
) -> None:
    """Cancel a handler at each of its awaits, and say what it makes of it.

    It runs once to count its awaits, then again for each of them: cancelled
    there, or as soon as what it awaits has come; cancelled a second time
    during its cleanup; over its time; stopped with the server. What it does
    in the world it does each time. Time is virtual, but for sockets, threads
    and processes.

    Faults: cancel, cancel-at-wakeup, cancel-before-first-step, second-cancel,
    cancel-with-child-failure, timeout, shutdown.

    Exit status: 0 it holds, 1 it does not or nothing is proved, 2 usage,
    3 no such handler.

    Examples:
        streaming prove my_tasks:import_rows path=/tmp/rows.csv
        streaming prove countdown count=3
        streaming prove my_tasks:import_rows --fault cancel --point 7
    """
    from streaming.cli.words import params_from
    from streaming.config import load_settings

    options = {"points_max": points, "point": point, "seed": seed, "timeout_s": timeout_s, "patience_s": patience_s}
    params, faults = params_from(words or [], param_json), _faults(fault)
    settings = load_settings(cancel_grace_s=grace_s)
    verdict = _sweep(handler, settings, params=params, faults=faults, ends=_end(ends), **options)
    verdict.command = shlex.join(["streaming", "prove", handler, *(words or []), *_given(context)])
    _show(verdict, output)
    raise typer.Exit(Exit.OK if verdict.ok else Exit.TASK_FAILED)


def _faults(wanted: list[str] | None) -> list[str]:
    from streaming.testing.verdict import FAULTS

    for each in wanted or ():
        if each not in FAULTS:
            raise typer.BadParameter(f"there is no {each!r}: {', '.join(FAULTS)}", param_hint="--fault")
    return wanted or [*FAULTS]


def _end(wanted: str) -> str:
    from streaming.rules.lifecycle import TERMINAL

    if wanted not in TERMINAL:
        raise typer.BadParameter(f"no handler ends as {wanted!r}: {', '.join(sorted(TERMINAL))}", param_hint="--ends")
    return wanted


def _given(context: typer.Context) -> Iterator[str]:
    """The options that were given, but for those that each finding has for itself."""
    for option in context.command.params:
        value = context.params.get(option.name or "")
        given = option.param_type_name == "option" and value not in (None, option.get_default(context))
        if given and option.name not in _NOT_AGAIN:
            yield from (option.opts[0], str(value))


def _sweep(handler: str, settings: Settings, **options: Any) -> Verdict:
    """Sweep it; what it prints is no part of the verdict, and goes to stderr."""
    from streaming.testing.sweeping import NoSuchPoint, sweep

    with _to_stderr():
        found, others = _find(handler, settings)
        with _bar(handler) as tell:
            try:
                return sweep(found, settings=settings, others=others, on_run=tell, **options)
            except NoSuchPoint as error:
                raise typer.BadParameter(str(error), param_hint="--point") from None


@contextlib.contextmanager
def _to_stderr() -> Iterator[None]:
    """Whatever is written to stdout meanwhile goes to stderr, also what programs write that are started."""
    before = sys.stdout
    if before is None:  # somebody has closed it
        yield
        return
    before.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        before.flush()  # who has got hold of it has written to stderr as well
        os.dup2(kept, STDOUT)
        os.close(kept)


def _show(verdict: Verdict, output: Output) -> None:
    if output is Output.JSON:
        print_document(verdict.as_json())
    else:
        for line in str(verdict).splitlines():
            print(printable(line))


# -- which handler -----------------------------------------------------------------------------------------------------


def _find(name: str, settings: Settings) -> tuple[Callable[..., Any], list[Callable[..., Any]]]:
    """The handler that a name means, and those that it may start.

    Raises:
        typer.Exit: there is none.
        InvalidTaskType: its module cannot be imported, or has a name that is taken.
    """
    from streaming.engine.registry import Registry
    from streaming.tasks import built_in
    from streaming.testing.subject import is_decorated

    registry = Registry(built_in(settings))
    module_name, colon, wanted = name.partition(":")
    if not colon:
        if name not in registry:
            known = ", ".join(each.name for each in registry)
            raise _missing(f"There is no built-in type {name!r}, but {known}; a handler of yours is module:function.")
        return registry.get(name).handler, [each.handler for each in registry]
    module = _module(module_name)
    if any(map(is_decorated, vars(module).values())):
        registry.add_module(module)
    if callable(found := getattr(module, wanted, None)):
        return found, [each.handler for each in registry]
    if wanted in registry:
        return registry.get(wanted).handler, [each.handler for each in registry]
    raise _missing(f"Module {module_name!r} has no handler {wanted!r}.")


def _module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _missing(f"There is no module {name!r}.") from None
        raise InvalidTaskType(f"Module {name!r} cannot be imported: {error}.") from error
    except Exception as error:
        raise InvalidTaskType(f"Module {name!r} cannot be imported: {type(error).__name__}: {error}.") from error


def _missing(words: str) -> typer.Exit:
    say(words)
    return typer.Exit(Exit.NOT_FOUND)


# -- how far it is -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr if somebody sees it."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("runs"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        bar = progress.add_task(printable(title), total=None)

        def tell(runs: int, planned: int) -> None:
            progress.update(bar, completed=runs, total=planned, refresh=True)

        yield tell


def _nothing(runs: int, planned: int) -> None:
    """Nobody sees how far it is."""
