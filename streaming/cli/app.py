"""The commands: their names, their options, and what their help says.

What a command needs is imported when it runs, so that ``streaming --help`` comes at once.

Owns:   which commands there are, and the words of those about a server, or that follow a task.
Uses:   cli.starting, cli.finding, cli.steering, cli.ending, cli.doctoring and cli.proving (the others),
        client, server (``serve``), cli.demo.
Never:  knows what a server does with a request.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli import (
    auditing,
    database,
    doctoring,
    ending,
    explaining,
    figures,
    finding,
    keys,
    proving,
    pruning,
    replaying,
    starting,
    steering,
    tailing,
)
from streaming.cli.asking import DEFAULT_URL, Format, TaskId, Url, ask
from streaming.cli.completion.command import completion
from streaming.cli.exits import Boundary
from streaming.cli.output import Output, print_document, print_table
from streaming.cli.stores import no_password
from streaming.cli.top.command import top
from streaming.cli.typed import CONTEXT, TypedCommand
from streaming.heap import loading

if TYPE_CHECKING:
    from streaming.client import Client

app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line of this process."""
    app(prog_name="streaming")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("streaming"))
        raise typer.Exit


app.add_typer(database.app, name="db")
app.add_typer(keys.app, name="key")
app.command()(pruning.prune)
app.command()(proving.prove)
app.command()(completion)
app.command()(doctoring.doctor)


@app.callback()
def streaming(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run long tasks, and stream what they do to everyone who watches."""


# -- the server --------------------------------------------------------------------------------------------------------


def _one(workers: int) -> int:
    """Refuse what other servers have, and what would lose events here.

    Raises:
        BadParameter: it is not 1.
    """
    if workers != 1:
        raise typer.BadParameter(
            f"{workers} processes cannot serve the same tasks: each would know only its own, and a database takes one. "
            "One process is one instance; threads and processes of handlers use the other cores."
        )
    return workers


@app.command()
def serve(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE", help="Modules with task handlers.", show_default=False),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one and logs it.", show_default="8000")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            callback=no_password,
            help="memory://, sqlite:///path or postgresql+psycopg://...",
            show_default="sqlite:///streaming.db",
        ),
    ] = None,
    grace_s: Annotated[float | None, typer.Option(help="Seconds from SIGTERM to the exit.", show_default="10")] = None,
    insecure_public: Annotated[
        bool,
        typer.Option("--insecure-public", help="Serve other addresses than loopback without credentials."),
    ] = False,
    log_format: Annotated[str | None, typer.Option(help="console or json.", show_default="console")] = None,
    workers: Annotated[int, typer.Option(callback=_one, help="Only 1: one process is one instance.")] = 1,
) -> None:
    """Run a server until SIGTERM or Ctrl-C.

    Every option is also a setting STREAMING_... in the environment, and the
    command line wins. All settings: streaming config.

    Examples:
        streaming serve
        streaming serve my_tasks --port 9000 --store sqlite:////tmp/tasks.db
    """
    with loading():
        from streaming.config import load_settings
        from streaming.server import run as run_server

    settings = load_settings(
        tasks=modules or None,
        host=host,
        port=port,
        store_url=store,
        grace_s=grace_s,
        insecure_public=insecure_public or None,
        log_format=log_format,
    )
    raise typer.Exit(run_server(settings))


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server running until Ctrl-C, to try the curl lines.")
    ] = False,
) -> None:
    """Start a server, run real work on it, cancel some, stop it again.

    Nothing is left behind. The exit status is 0 only if everything went as
    it should.

    Examples:
        streaming demo
        streaming demo --keep
    """
    from streaming.cli.demo import run_demo

    raise typer.Exit(run_demo(keep=keep))


@app.command()
def config(output: Format = Output.TEXT) -> None:
    """List all settings: variable, value, default, and what it is for.

    Examples:
        streaming config
        streaming config -o json | jq -r '.[].variable'
    """
    from streaming.cli.settings import describe_settings

    rows = describe_settings()
    if output is Output.JSON:
        print_document(rows)
    else:
        print_table(["variable", "value", "default", "what it is for"], [[*row.values()] for row in rows])


# -- tasks -------------------------------------------------------------------------------------------------------------


app.command(cls=TypedCommand, context_settings=dict(CONTEXT))(starting.run)
app.command(cls=TypedCommand, context_settings=dict(CONTEXT))(starting.start)


@app.command()
def watch(
    task_id: TaskId,
    after: Annotated[int, typer.Option(min=0, help="Begin behind this event.")] = 0,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Watch a task to its end, also across a restart of the server.

    Ctrl-C leaves; the task goes on. The exit status is that of run.

    Examples:
        streaming watch 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
        streaming watch 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --after 120 -o json
    """
    from streaming.cli.following import follow

    async def work(client: Client) -> int:
        return await follow(client, task_id, after=after, output=output, title=task_id[:8])

    raise typer.Exit(ask(url, work))


app.command()(top)
app.command()(tailing.tail)
app.command()(replaying.replay)
app.command(name="list")(finding.list_tasks)
app.command(name="count")(finding.count_tasks)
app.command()(finding.show)
app.command()(explaining.why)
app.command()(figures.stats)
app.command()(auditing.audit)
app.command()(ending.cancel)
app.command()(steering.retry)
app.command()(steering.extend)
app.command(name="input")(steering.send_input)
app.command()(steering.ack)
app.command()(ending.delete)


@app.command()
def types(url: Url = DEFAULT_URL, output: Format = Output.TEXT) -> None:
    """List the task types of a server, with their parameters.

    Columns are name, parameters and description; a parameter that may be
    left out has a question mark.

    Examples:
        streaming types
        streaming types -o json | jq '.[].name'
    """
    from streaming.cli.types import rows

    async def work(client: Client) -> None:
        found = await client.types()
        if output is Output.JSON:
            print_document(found)
        else:
            print_table(["type", "parameters", "what it does"], rows(found))

    ask(url, work)


# -- the help ----------------------------------------------------------------------------------------------------------

#: The groups in ``streaming --help``, in their order, as are the commands in each.
PANELS = {
    "Start and follow": ("run", "start", "watch", "top", "tail", "replay"),
    "Find and understand": ("list", "show", "count", "why", "stats", "types"),
    "Steer and end": ("cancel", "retry", "extend", "input", "ack", "delete"),
    "Run a server": ("serve", "demo", "doctor", "audit", "config", "key", "db", "prune"),
    "Develop": ("prove", "completion"),
}


def _put_into_panels() -> None:
    order = [name for names in PANELS.values() for name in names]
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    commands = {info: info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands}
    for info, name in commands.items():
        info.rich_help_panel = panels.get(name)
    for group in app.registered_groups:
        group.rich_help_panel = panels.get(str(group.name))
    app.registered_commands.sort(
        key=lambda info: order.index(commands[info]) if commands[info] in order else len(order)
    )


_put_into_panels()
