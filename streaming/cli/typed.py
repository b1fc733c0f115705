"""Commands with the name of a task type, which have the options of its parameters besides their own.

Rules of this file:

- Options that the command does not know are left among its words: what they mean only the server's schema says.
- ``TYPE --help`` shows the parameters of that type, if the server is there.

Owns:   `TypedCommand`, the reading of such words, and the names of options in what a server refuses.
Uses:   client (the schema), cli.glance (for the help), cli.param_options (what words mean).
Never:  checks a value beyond its kind; that is for the server.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from streaming.cli.param_options import PREFIX, Options, WrongOption, example, is_option
from streaming.cli.schema import MISSING, Kind, Parameter, shown
from streaming.cli.words import params_from

if TYPE_CHECKING:
    from streaming.client import Client

#: Of the context of such a command: what stands on its line.
WORDS = "streaming.words"

CONTEXT = MappingProxyType({"ignore_unknown_options": True})

URL = "--url"

#: Who asks for the help of a type waits for the server so long.
HELP_S = 3.0


class TypedCommand(TyperCommand):
    """``run`` and ``start``: commands whose first word is a task type."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words for the help."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the type that is named, or else of the command."""
        type, url = self._named(ctx.meta.get(WORDS, []))
        described = None if type is None else _described(type, url)
        if described is None:
            super().format_help(ctx, formatter)
            if type is not None:
                print(f"The parameters of {type} are not shown: no server that knows it answers. streaming types")
            return
        _print_help(ctx.command_path, described, Options(_schema(described), self.taken()))

    def taken(self) -> set[str]:
        """The options that the command has for itself."""
        return {
            "--help",
            *(option for parameter in self.params for option in (*parameter.opts, *parameter.secondary_opts)),
        }

    def _named(self, words: Sequence[str]) -> tuple[str | None, str | None]:
        """The type, and the address of the server, on a line that may be wrong elsewhere."""
        flags = {
            option for parameter in self.params if getattr(parameter, "is_flag", False) for option in parameter.opts
        } | {"--help", "-h"}
        left, type, url = list(words), None, None
        while left:
            word = left.pop(0)
            option, equals, value = word.partition("=")
            if word.startswith("-") and option in self.taken() | flags and option not in flags:
                value = value if equals else left.pop(0) if left else ""
                url = value if option == URL else url
            elif not word.startswith("-") and type is None:
                type = word
        return type, url


async def read_params(
    client: Client, type: str, words: Sequence[str], document: str | None, taken: set[str]
) -> tuple[dict[str, Any], Options | None]:
    """The parameters of a start; the server is asked for their schema if there are options among the words.

    Args:
        client: of the server.
        type: the task type.
        words: ``name=value``, and options.
        document: more parameters as JSON.
        taken: options of the command itself.

    Returns:
        The parameters, and the options of the type, if they were asked for.

    Raises:
        typer.BadParameter: a word is none of the type.
    """
    if is_option(type):
        raise typer.BadParameter(f"The task type comes first, then {type}.", param_hint="TYPE")
    if not any(map(is_option, words)):
        return params_from(words, document), None
    types = {str(each.get("name")): each for each in await client.types()}
    if type not in types:
        close = get_close_matches(type, types, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(types))}."
        raise typer.BadParameter(f"There is no task type {type!r}; {hint}", param_hint="TYPE")
    options = Options(_schema(types[type]), taken)
    try:
        given, rest = options.read(words)
    except WrongOption as error:
        raise typer.BadParameter(f"{error} (streaming run {type} --help)", param_hint=error.option) from None
    params = params_from(rest, document)
    for name, value in given.items():
        if name in params:
            raise typer.BadParameter(f"{name!r} is given twice.", param_hint=f"--{name}")
        params[name] = value
    return params, options


@contextmanager
def options_named(options: Options | None) -> Iterator[None]:
    """Where the server refuses parameters, name their options.

    Raises:
        InvalidParams: the same error, with options for fields.
    """
    from streaming.errors import FieldError, InvalidParams

    try:
        yield
    except InvalidParams as error:
        if options is None:
            raise
        fields = [
            FieldError(
                options.option_at(each.field) or each.field if each.field.startswith(PREFIX) else each.field,
                each.message,
            )
            for each in error.errors
        ]
        raise InvalidParams(error.detail, errors=fields) from error


def _schema(described: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = described.get("params_schema")
    return schema if isinstance(schema, Mapping) else {}


# -- help --------------------------------------------------------------------------------------------------------------


def _described(type: str, url: str | None) -> Mapping[str, Any] | None:
    from streaming.cli.glance import glance

    found = glance("/types", url=url, limit_s=HELP_S)
    types = found.get("types") if isinstance(found, dict) else None
    for each in types if isinstance(types, list) else ():
        if isinstance(each, dict) and each.get("name") == type:
            return each
    return None


def _print_help(command: str, described: Mapping[str, Any], options: Options) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    name = str(described["name"])
    console = Console(highlight=False)
    console.print(Text(f"\n Usage: {command} {name} [PARAMETERS] [OPTIONS]\n"), style="bold")
    console.print(Text(f" {described.get('description') or ''}\n"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold", style="cyan")
    table.add_column(overflow="fold")
    for parameter in options.parameters:
        value = "" if parameter.kind is Kind.BOOLEAN else f" {parameter.placeholder}"
        table.add_row(Text("/".join(options.names_of(parameter)) + value), Text(_words(parameter)))
    if options.parameters:
        console.print(Panel(table, title="Parameters", title_align="left", border_style="dim"))
    else:
        console.print(" It takes any parameters, as --name VALUE.\n" if options.open else " It has no parameters.\n")
    line = shlex.join([*command.split(), name, *example(options)])
    console.print(Text(f" Example:\n     {line}\n"), soft_wrap=True)
    console.print(Text(f" All other options: {command} --help\n"))


def _words(parameter: Parameter) -> str:
    """What a help says of a parameter."""
    default = parameter.default
    notes = [
        parameter.bounds,
        "may be repeated, or a JSON list" if parameter.kind is Kind.LIST else "",
        "null is possible" if parameter.nullable and parameter.required else "",
        "" if default is MISSING or default is None else f"default: {shown(default)}",
        "required" if parameter.required else "",
    ]
    said = "".join(f" [{note}]" for note in notes if note)
    return f"{parameter.description}{said}".strip()
