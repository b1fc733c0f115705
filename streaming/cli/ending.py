"""The commands that put an end to tasks: cancel and delete, one or many.

Rules of this file:

- Many tasks are meant by filters, never by their absence. A person is told how many they are, and asked.
- Who is no person at a terminal says ``--yes``.

Owns:   their options, the question, and the exit status of a bulk.
Uses:   client (the requests), cli.filters.
Never:  decides which tasks a filter means.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from streaming.cli.asking import DEFAULT_URL, Format, Url, ask
from streaming.cli.exits import Exit, exit_of
from streaming.cli.filters import Preset, Statuses, Tags, Terms, Types, Words, filters_from
from streaming.cli.output import Output, hint, print_document, print_fields, print_receipt, say
from streaming.rules.lifecycle import TERMINAL

if TYPE_CHECKING:
    from streaming.client import Bulk, Client

#: One request for a bulk; with True it only says how many tasks there are.
Request: TypeAlias = "Callable[[Client, bool], Coroutine[Any, Any, Bulk]]"

OneTask = Annotated[
    str | None, typer.Argument(metavar="ID", help="Id of one task; or else filters.", show_default=False)
]
Reason = Annotated[str, typer.Option(help="Shown to everybody who watches.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many tasks are ended.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many tasks there are.")]


def cancel(
    task_id: OneTask = None,
    reason: Reason = "",
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for the stop of one task.")] = 0.0,
    status: Statuses = None,
    type: Types = None,
    tag: Tags = None,
    query: Words = None,
    filter: Terms = None,
    preset: Preset = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    """Cancel one task and show the receipt, or all tasks that filters mean.

    Of those, only the ones that have not ended are touched. The exit status
    is 4 if any of them refused.

    Examples:
        streaming cancel 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b --wait-s 10
        streaming cancel --tag nightly --status pending --reason "not today"
    """
    filters = filters_from(status, type, tag, query, filter, preset)
    _check_one_or_many(task_id, filters)
    if task_id is None:
        if wait_s:
            raise typer.BadParameter("Only the stop of one task is waited for.", param_hint="--wait-s")

        async def request(client: Client, dry: bool) -> Bulk:
            return await client.cancel_many(filters, reason=reason, dry_run=dry)

        raise typer.Exit(_bulk(url, "cancel", "cancelled", request, yes=yes, dry_run=dry_run, output=output))

    async def work(client: Client) -> None:
        record = await client.cancel(task_id, reason=reason, wait_s=wait_s)
        print_receipt(record, output)
        if record.status not in TERMINAL:
            hint(f"it cleans up; streaming watch {task_id} shows its end, streaming why {task_id} what it waits for")

    ask(url, work)


def delete(
    task_id: OneTask = None,
    status: Statuses = None,
    type: Types = None,
    tag: Tags = None,
    query: Words = None,
    filter: Terms = None,
    preset: Preset = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    output: Format = Output.TEXT,
) -> None:
    r"""Delete one task with its log, or all tasks that filters mean.

    Of those, only the ones that have ended are touched. There is no way back.

    Examples:
        streaming delete 0192f1c2a0b87c3e9d4b5a6f7e8d9c0b
        streaming delete --filter 'finished_at\[lt]=2026-11-01' --yes
    """
    filters = filters_from(status, type, tag, query, filter, preset)
    _check_one_or_many(task_id, filters)
    if task_id is None:

        async def request(client: Client, dry: bool) -> Bulk:
            return await client.delete_many(filters, dry_run=dry)

        raise typer.Exit(_bulk(url, "delete", "deleted", request, yes=yes, dry_run=dry_run, output=output))

    async def work(client: Client) -> None:
        await client.delete(task_id)
        say(f"task {task_id} is deleted")

    ask(url, work)


def _check_one_or_many(task_id: str | None, filters: Mapping[str, str]) -> None:
    if (task_id is None) is not bool(filters):
        raise typer.BadParameter("Give the id of one task, or filters for many; not both, and not neither.")


def _bulk(url: str, verb: str, done: str, request: Request, *, yes: bool, dry_run: bool, output: Output) -> Exit:
    if dry_run:
        return _told(ask(url, lambda client: request(client, True)), done, output)
    if not yes:
        _confirm(verb, ask(url, lambda client: request(client, True)))
    return _told(ask(url, lambda client: _repeated(request, client)), done, output)


async def _repeated(request: Request, client: Client) -> Bulk:
    """Ask again as long as there are more, and it helps."""
    total = await request(client, False)
    last = total
    while last.more and last.done and not any(exit_of(each.code) is Exit.UNAVAILABLE for each in last.refused):
        last = await request(client, False)
        total = dataclasses.replace(
            last,
            matched=total.matched + last.matched,
            done=total.done + last.done,
            refused=(*total.refused, *last.refused),
        )
    return total


def _confirm(verb: str, found: Bulk) -> None:
    """Ask the person at the terminal, if there is something to ask for.

    Raises:
        typer.BadParameter: there is none.
        typer.Exit: the answer is no.
    """
    if not found.matched:
        return
    number = f"{'At least ' if found.more else ''}{found.matched} task{'' if found.matched == 1 else 's'}"
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{number} would be meant; say --yes, as nobody can be asked here.")
    if not typer.confirm(f"{number} to {verb}. Go on?", err=True):
        say("nothing was done")
        raise typer.Exit(Exit.INTERRUPTED)


def _told(report: Bulk, done: str, output: Output) -> Exit:
    """Print what became of a bulk, and say how the command ends."""
    refused = [dataclasses.asdict(each) for each in report.refused]
    if output is Output.JSON:
        print_document({"matched": report.matched, done: report.done, "refused": refused, "more": report.more})
    else:
        print_fields(
            [("matched", report.matched), (done, report.done), ("refused", len(refused)), ("more", report.more)]
        )
    for each in report.refused:
        say(f"{each.id} {each.code}: {each.detail}")
    exits = {exit_of(each.code) for each in report.refused}
    if Exit.UNAVAILABLE in exits:
        return Exit.UNAVAILABLE
    return Exit.NOT_ALLOWED if exits else Exit.OK
