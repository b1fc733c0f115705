"""The command line: ``streaming serve``, ``run``, ``watch`` and the others."""

from streaming.cli.app import main

__all__ = ["main"]
