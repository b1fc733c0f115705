"""The command that asks a server whether all is well there.

Owns:   its options, its table, and the exit status of a server where something is not.
Uses:   client (the question).
Never:  judges or mends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streaming.cli.asking import DEFAULT_URL, Format, Url, ask
from streaming.cli.exits import Exit
from streaming.cli.output import Output, print_document, print_table, say

if TYPE_CHECKING:
    from streaming.client import Audit, Client


def audit(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be put right safely.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="Tasks whose logs are read, at most.", show_default="STREAMING_AUDIT_TASKS_MAX"),
    ] = None,
    diary: Annotated[bool, typer.Option("--diary", help="Show what has happened last, and look at nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Look whether all is well on a server, and name what is not.

    Columns are invariant, task and what was found. With --diary: when, what,
    task, and more; the diary as JSON is what a replay takes.

    Exit status: 0 all is well, 1 something is not, else as for every command.

    Examples:
        streaming audit
        streaming audit --repair
        streaming audit --diary --json > diary.json
    """
    if diary and (repair or limit is not None):
        raise typer.BadParameter("It looks at nothing: there is nothing to repair or to limit.", param_hint="--diary")
    chosen = Output.JSON if json else output

    async def work(client: Client) -> int:
        if diary:
            _show_diary(await client.diary(), chosen)
            return Exit.OK
        return _show(await client.audit(limit=limit, repair=repair), chosen)

    raise typer.Exit(ask(url, work))


def _show(found: Audit, output: Output) -> int:
    if output is Output.JSON:
        print_document(
            {
                "checked": dict(found.checked),
                "whole": found.whole,
                "found": found.found,
                "violations": [each.as_json() for each in found.violations],
                "repaired": [each.as_json() for each in found.repaired],
            }
        )
    else:
        print_table(
            ["invariant", "task", "what was found"],
            [[each.invariant, each.task_id, each.detail] for each in found.violations],
        )
        for each in found.repaired:
            say(f"mended: {each}")
        say(_words(found))
    return Exit.TASK_FAILED if found.found else Exit.OK


def _words(found: Audit) -> str:
    looked = ", ".join(f"{count} {name}" for name, count in found.checked.items())
    verdict = f"{found.found} violations" if found.found else "all is well"
    rest = "" if found.whole else "; there is more: --limit looks at more tasks"
    return f"{verdict} ({looked}){rest}"


def _show_diary(found: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_document(found)
    else:
        print_table(["at", "fact", "task", "more"], [_row(fact) for fact in found.get("facts", [])])


def _row(fact: dict[str, Any]) -> list[Any]:
    more = " ".join(f"{name}={value}" for name, value in fact.items() if name not in ("at", "fact", "task_id"))
    return [f"{fact['at']:.6f}", fact["fact"], fact["task_id"], more]
