"""The command that looks whether a server is set up well, here and from outside.

Owns:   its options, its table, and the exit status of a set-up that is not well.
Uses:   cli.examining (this machine, the settings, the store), cli.probing (the server through its public URL).
Never:  judges anything itself; changes anything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.asking import Format
from streaming.cli.exits import Exit
from streaming.cli.output import Output, print_document, print_table, say
from streaming.rules.finding import Finding, Verdict, worst

if TYPE_CHECKING:
    from streaming.cli.tokens import Token

_EXITS = MappingProxyType(
    {
        Verdict.OK: Exit.OK,
        Verdict.WARNING: Exit.OK,
        Verdict.PROBLEM: Exit.TASK_FAILED,
        Verdict.UNREACHABLE: Exit.UNAVAILABLE,
    }
)


def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            "--url", envvar="STREAMING_URL", help="Look from outside as well, through this URL.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    output: Format = Output.TEXT,
) -> None:
    """Look whether a server is set up well, and say what to do where not.

    Run it where the server runs, with its settings, whether it runs or not.
    With --url it goes through whatever lies in front of the server, and
    measures whether streams come through as they are sent.

    Exit status: 0 all is well or there are warnings, 1 there is a problem,
    2 usage, 5 the URL or the database cannot be reached.

    Examples:
        streaming doctor
        streaming doctor --url https://tasks.example.org
        streaming doctor --json | jq -r '.findings[] | select(.verdict != "ok")'
    """
    from streaming.cli.examining import examine

    token = None
    if url is not None:
        from streaming.cli.tokens import token_from

        token = token_from(os.environ)
    findings = list(examine(os.environ))
    if url is not None:
        findings += _probed(url, token)
    verdict = worst(findings)
    _show(findings, verdict, Output.JSON if json else output)
    raise typer.Exit(_EXITS[verdict])


def _probed(url: str, token: Token) -> list[Finding]:
    import asyncio

    from streaming.cli.probing import probe

    try:
        return asyncio.run(probe(url, token))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def _show(findings: Sequence[Finding], verdict: Verdict, output: Output) -> None:
    if output is Output.JSON:
        print_document({"verdict": verdict.value, "findings": [finding.as_json() for finding in findings]})
        return
    print_table(
        ["check", "verdict", "what was found", "what to do"],
        [[each.check, each.verdict.value, each.found, each.advice] for each in findings],
    )
    counts = Counter(finding.verdict for finding in findings)
    bad = [f"{counts[each]} {each.value}{_plural(each, counts[each])}" for each in reversed(Verdict) if counts[each]]
    say(f"{len(findings)} checks: {', '.join(bad)}")


def _plural(verdict: Verdict, count: int) -> str:
    return "s" if verdict in (Verdict.WARNING, Verdict.PROBLEM) and count > 1 else ""
