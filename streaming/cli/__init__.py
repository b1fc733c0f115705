"""The command line: ``streaming serve``, ``run``, ``watch`` and the others."""

import os
import signal
import sys

from streaming.heap import loading

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process."""
    if "STREAMING_COMPLETE" in os.environ:
        # Somebody has pressed a key and waits: no more is imported than that needs.
        from streaming.cli.completion.answer import answer

        sys.stdout.write(answer(sys.argv[1:], os.environ))
        return
    if sys.argv[1:2] == ["serve"]:
        # The imports take most of a second. A signal in it must not kill what a supervisor has just started, or end in
        # a traceback. An exception could get lost in whatever is being imported; the server takes over later.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, _leave)
    with loading():
        from streaming.cli.app import main as run

    run()


def _leave(signum: int, frame: object) -> None:
    os._exit(0)
