"""The command that says why a task is still running.

Owns:   its options, and how the answer is printed.
Uses:   client (the question).
Never:  works anything out: the server says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streaming.cli.asking import DEFAULT_URL, Format, TaskId, Url, ask
from streaming.cli.output import Output, print_document, printable

if TYPE_CHECKING:
    from streaming.client import Client
    from streaming.client.insight import Waiting


def why(task_id: TaskId, url: Url = DEFAULT_URL, output: Format = Output.TEXT) -> None:
    """Say why a task is still running: what it waits for, where, since when.

    One sentence, and below it the lines of code that the handler stands on,
    with those of the asyncio tasks that it waits for. Lines of libraries have
    a dot in front.

    Examples:
        streaming why 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
        streaming why 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b -o json | jq .past
    """

    async def work(client: Client) -> None:
        found = await client.why(task_id)
        if output is Output.JSON:
            print_document(found.document)
            return
        print(printable(found.sentence))
        if found.stack is not None:
            for line in lines_of(found.stack):
                print(line)

    ask(url, work)


def lines_of(stack: Waiting, indent: str = "  ") -> Iterator[str]:
    """The lines of a stack, those behind it further in."""
    for frame in stack.frames:
        yield f"{indent}{' ' if frame.own else '.'} {printable(frame.where)}"
    for task in stack.tasks:
        yield f"{indent}  + {printable(task.function)} ({printable(task.waits_for)})"
        yield from lines_of(task, f"{indent}    ")
    if stack.more:
        yield f"{indent}  + {stack.more} more"
