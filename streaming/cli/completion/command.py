"""The command ``streaming completion``.

Owns:   its argument.
Never:  writes into anybody's start-up files: the help says what to put there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from streaming.cli.completion.scripts import SCRIPTS


class Shell(StrEnum):
    """Shells that are known here."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Of which shell.", show_default=False)],
) -> None:
    """Print what a shell needs to complete commands, options and values.

    Put the line into its start-up file: ~/.bashrc, ~/.zshrc behind
    compinit, or ~/.config/fish/config.fish.

    Examples:
        eval "$(streaming completion bash)"
        eval "$(streaming completion zsh)"
        streaming completion fish | source
    """
    print(SCRIPTS[shell.value], end="")
