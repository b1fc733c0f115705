"""The commands that start a task: and follow it, or leave it to itself.

Owns:   the options of a start.
Uses:   client (the start), cli.typed (the options of the parameters), cli.following (what is shown of a run).
Never:  knows what an option may be: that is for the server to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from streaming.cli.asking import DEFAULT_URL, Format, Url, ask
from streaming.cli.output import Output, hint, print_record
from streaming.cli.typed import TypedCommand, options_named, read_params
from streaming.cli.words import read_document
from streaming.records import Priority
from streaming.rules.schedule import IfRunning

if TYPE_CHECKING:
    from streaming.client import Client
    from streaming.client.options import StartOptions

Type = Annotated[str, typer.Argument(metavar="TYPE", help="Name of the task type.", show_default=False)]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="--NAME VALUE|NAME=VALUE",
        help="Parameters; TYPE --help shows them. Values behind = are JSON or else text.",
        show_default=False,
    ),
]
Params = Annotated[
    str | None,
    typer.Option(
        "--params",
        "--param-json",
        metavar="JSON|@FILE|-",
        help="More parameters, as one JSON object; of a file, or of the input.",
        show_default=False,
    ),
]
TimeoutS = Annotated[float | None, typer.Option(help="Seconds it may run.", show_default=False)]
QueueTimeoutS = Annotated[float | None, typer.Option(help="Seconds it may wait for its turn.", show_default=False)]
HeartbeatTimeoutS = Annotated[float | None, typer.Option(help="Seconds a run may be silent.", show_default=False)]
TotalTimeoutS = Annotated[float | None, typer.Option(help="Seconds from the start to the end.", show_default=False)]
Importance = Annotated[Priority | None, typer.Option("--priority", help="Whose turn comes first.", show_default=False)]
Key = Annotated[str | None, typer.Option(help="Tasks with the same key run one by one.", show_default=False)]
IfBusy = Annotated[
    IfRunning | None, typer.Option("--if-running", help="If a task with the key has not ended.", show_default=False)
]
ExternalId = Annotated[str | None, typer.Option(help="What it is called elsewhere.", show_default=False)]
Retries = Annotated[int | None, typer.Option(help="Attempts after a failed one, at most.", show_default=False)]
BackoffS = Annotated[float | None, typer.Option(help="Longest first pause between them.", show_default=False)]
RetryOn = Annotated[
    list[str] | None, typer.Option(help="Only after this error code; may be repeated.", show_default=False)
]
CancelUnwatchedS = Annotated[
    float | None, typer.Option(help="Cancel it so long after its last viewer has left.", show_default=False)
]
KeepUntilAck = Annotated[bool, typer.Option("--keep-until-ack", help="Keep it until its result is acknowledged.")]
Tag = Annotated[list[str] | None, typer.Option(help="Word to find it by; may be repeated.", show_default=False)]


def run(
    ctx: typer.Context,
    type: Type,
    words: Words = None,
    params: Params = None,
    timeout_s: TimeoutS = None,
    queue_timeout_s: QueueTimeoutS = None,
    heartbeat_timeout_s: HeartbeatTimeoutS = None,
    total_timeout_s: TotalTimeoutS = None,
    priority: Importance = None,
    key: Key = None,
    if_running: IfBusy = None,
    external_id: ExternalId = None,
    retries: Retries = None,
    backoff_s: BackoffS = None,
    retry_on: RetryOn = None,
    cancel_unwatched_s: CancelUnwatchedS = None,
    keep_until_ack: KeepUntilAck = False,
    tag: Tag = None,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Start a task and watch it to its end.

    Ctrl-C cancels the task and waits for the receipt; a second Ctrl-C
    leaves it to itself. A task that was joined is left at the first one.

    Exit status: 0 completed, 1 ended without a result, 2 usage,
    3 not found, 4 not allowed, 5 no server, 130 Ctrl-C.

    Examples:
        streaming run countdown --help
        streaming run countdown --count 5 --interval 0.5
        streaming run http_fetch url=https://example.com/ --timeout-s 30
        streaming run checksum --params '{"path": "/srv"}' --tag nightly
        streaming run countdown --count 3 --key clock --if-running replace
    """
    from streaming.cli.following import Run

    options = _options(locals())
    document = read_document(params)

    async def work(client: Client) -> int:
        given, named = await read_params(client, type, words or [], document, _taken(ctx))
        with options_named(named):
            return await Run(client, output).run(type, given, **options)

    raise typer.Exit(ask(url, work))


def start(
    ctx: typer.Context,
    type: Type,
    words: Words = None,
    params: Params = None,
    timeout_s: TimeoutS = None,
    queue_timeout_s: QueueTimeoutS = None,
    heartbeat_timeout_s: HeartbeatTimeoutS = None,
    total_timeout_s: TotalTimeoutS = None,
    priority: Importance = None,
    key: Key = None,
    if_running: IfBusy = None,
    external_id: ExternalId = None,
    retries: Retries = None,
    backoff_s: BackoffS = None,
    retry_on: RetryOn = None,
    cancel_unwatched_s: CancelUnwatchedS = None,
    keep_until_ack: KeepUntilAck = False,
    tag: Tag = None,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Start a task, show it, and leave it to itself.

    Examples:
        streaming start external --film seven --external-id F-7
        streaming start countdown count=60 -o json | jq -r .id
    """
    options = _options(locals())
    document = read_document(params)

    async def work(client: Client) -> None:
        given, named = await read_params(client, type, words or [], document, _taken(ctx))
        with options_named(named):
            record = await client.start(type, given, **options)
        print_record(record, output)
        hint(f"streaming watch {record.id} follows it; streaming cancel {record.id} ends it")

    ask(url, work)


def _taken(ctx: typer.Context) -> set[str]:
    command = ctx.command
    return command.taken() if isinstance(command, TypedCommand) else set()


#: Options that the client knows under the same name.
_AS_THEY_ARE = (
    "timeout_s",
    "queue_timeout_s",
    "heartbeat_timeout_s",
    "total_timeout_s",
    "priority",
    "key",
    "if_running",
    "external_id",
    "cancel_unwatched_s",
)


def _options(given: dict[str, object]) -> StartOptions:
    """What is asked for, of all that could be."""
    options = {name: given[name] for name in _AS_THEY_ARE if given[name] is not None}
    retry = {"retries": given["retries"], "backoff_s": given["backoff_s"], "on": given["retry_on"] or None}
    if any(value is not None for value in retry.values()):
        options["retry"] = {name: value for name, value in retry.items() if value is not None}
    if given["keep_until_ack"]:
        options["keep_until_ack"] = True
    if given["tag"]:
        options["tags"] = given["tag"]
    return cast("StartOptions", options)
