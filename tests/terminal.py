"""Somebody who works through a page: saves the files, pastes the commands, and keeps a server running elsewhere.

A comment in front of a block says what is special about it:

    <!-- file: my_tasks.py -->     it is a file, saved under this name
    <!-- meanwhile -->             its commands run in a terminal of their own, while the page goes on
    <!-- status: 1 -->             its last command ends with this exit status

Lines with ``streaming serve`` or ``uvicorn`` are a server in a terminal of its own; the one before is stopped with
Ctrl-C. Everything else is pasted into one shell, whose output is a terminal, so that what is shown is what people see.

Owns:   `Terminal`: a folder, a shell, a server, a port instead of 8000.
Never:  waits without a bound; leaves a process behind.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.pages import Block
from tests.ports import reserve_port
from tests.serving import ROOT

#: Seconds in which a block is done, or never will be.
SOON_S = 40.0

FILE, MEANWHILE, STATUS = "file: ", "meanwhile", "status: "

_MARK = "-----8<-----"
_SERVE = re.compile(r"^(?:\w+=\S+ )*(?:streaming serve|uvicorn)\b(?:.*\\\n)*.*$", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRAMS = {
    "streaming": "-m streaming.cli",
    "python": "",
    "python3": "",
    "pytest": "-m pytest",
    "uvicorn": "-m uvicorn",
}


class Terminal:
    """Works in a folder; inside of ``with``.

    Args:
        folder: where files are saved, commands run, and the server keeps its tasks.

    Attributes:
        port: of the server, wherever the page says 8000; another one stands for 8077.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {number: reserve_port() for number in (8000, 8077)}
        self.port = self._ports[8000][0]
        self._server: subprocess.Popen[bytes] | None = None
        self._meanwhile: list[tuple[Block, Path]] = []
        self._screen, self._tty = pty.openpty()
        self._seen = b""

    def __enter__(self) -> Self:
        bash = shutil.which("bash")
        assert bash is not None
        (self.folder / "examples").symlink_to(ROOT / "examples")
        programs = self.folder / ".programs"
        programs.mkdir()
        for name, words in _PROGRAMS.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            (programs / name).chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMING_", "PYTEST_"))}
        self._environment = kept | {
            "PATH": f"{programs}:{kept['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "STREAMING_PORT": str(self.port),
            "STREAMING_URL": f"http://127.0.0.1:{self.port}",
            "COLUMNS": "200",
            "TERM": "xterm",
            "no_proxy": "127.0.0.1",
        }
        self._shell = subprocess.Popen(
            [bash, "--norc"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=self._tty,
            stderr=self._tty,
            start_new_session=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._stop_server()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.communicate()
            os.close(self._screen)
            os.close(self._tty)
            for _, reserved in self._ports.values():
                reserved.close()

    # -- a page ------------------------------------------------------------------------------------------------------

    def do(self, block: Block) -> str:
        """Do what a block says, and return what is printed."""
        if block.note.startswith(FILE):
            (self.folder / block.note.removeprefix(FILE)).write_text(self._here(block.code), encoding="utf-8")
            return ""
        if block.note == MEANWHILE:
            file = self.folder / f".terminal{len(self._meanwhile)}"
            self._meanwhile.append((block, file))
            return self.paste(f"(\n{self._here(block.code)}\n) >{file} 2>&1 &\n")
        wanted = int(block.note.removeprefix(STATUS)) if block.note.startswith(STATUS) else 0
        return self._there("".join(self._piece(piece, wanted) for piece in self._pieces(block.code)))

    def meanwhile(self) -> Iterator[tuple[Block, str]]:
        """What the commands that ran meanwhile have printed, once they have ended."""
        if self._meanwhile:
            self.paste("wait")
        for block, file in self._meanwhile:
            yield block, self._there(file.read_text(encoding="utf-8"))

    def paste(self, commands: str, status: int = 0) -> str:
        """Paste commands into the shell, and return what they print."""
        assert self._shell.stdin is not None
        # In a pair of braces, so that no command can read the next ones from the input of the shell.
        script = f"{{ {commands.rstrip()}\n}} </dev/null; printf '\\n%s %s\\n' '{_MARK}' $?\n"
        self._shell.stdin.write(script.encode())
        self._shell.stdin.flush()
        printed, ended = self._until_mark()
        assert ended == status, f"exit status {ended}:\n{commands}\n{printed}"
        return printed

    def _here(self, text: str) -> str:
        """What a page says, with the programs and the ports of this terminal."""
        text = re.sub(r"\b(?:python3 dev\.py|poetry) run ", "", text)
        for number, (port, _) in self._ports.items():
            text = re.sub(rf"(?<=[: ]){number}\b", str(port), text)
        return text

    def _there(self, text: str) -> str:
        """What was printed, with the ports of the page."""
        for number, (port, _) in self._ports.items():
            text = text.replace(f":{port}", f":{number}")
        return text

    def _pieces(self, code: str) -> list[str]:
        """Commands, with each server as a piece of its own."""
        text, pieces, at = self._here(code), [], 0
        for serve in _SERVE.finditer(text):
            pieces += [text[at : serve.start()], serve[0]]
            at = serve.end()
        return [piece for piece in [*pieces, text[at:]] if piece.strip()]

    def _piece(self, piece: str, status: int) -> str:
        if not _SERVE.fullmatch(piece):
            return self.paste(piece, status)
        self._stop_server()
        self._start_server(piece)
        return ""

    # -- the shell -----------------------------------------------------------------------------------------------------

    def _until_mark(self) -> tuple[str, int]:
        end = time.monotonic() + SOON_S
        mark = re.compile(rf"\n{_MARK} (\d+)\r?\n".encode())
        while (found := mark.search(self._seen)) is None:
            ready, _, _ = select.select([self._screen], [], [], max(0, end - time.monotonic()))
            assert ready, f"nothing more in {SOON_S:g} s, after:\n{self._seen.decode(errors='replace')[-2000:]}"
            self._seen += os.read(self._screen, 65_536)
        printed, self._seen = self._seen[: found.start()], self._seen[found.end() :]
        return _ESCAPES.sub("", printed.decode()).replace("\r", "\n"), int(found[1])

    # -- the server ----------------------------------------------------------------------------------------------------

    def _start_server(self, command: str) -> None:
        bash = shutil.which("bash")
        assert bash is not None
        with (self.folder / ".server").open("ab") as output:
            line = re.sub(r"^((?:\w+=\S+ )*)", r"\1exec ", command, count=1)
            if "uvicorn" in line:
                line += f" --port {self.port}"
            self._server = subprocess.Popen(
                [bash, "-c", line], cwd=self.folder, env=self._environment, stdout=output, stderr=output
            )
        end = time.monotonic() + SOON_S
        while not self._is_ready():
            waiting = self._server.poll() is None and time.monotonic() < end
            assert waiting, (self.folder / ".server").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _stop_server(self) -> None:
        """Ctrl-C, unless the page has killed it."""
        if self._server is None:
            return
        server, self._server = self._server, None
        try:
            if self._accepts():
                server.send_signal(signal.SIGINT)
                assert server.wait(SOON_S) in (0, -signal.SIGKILL)  # it may be dying of the kill -9 of the page
            else:
                server.wait(SOON_S)
        finally:
            server.kill()
            server.wait()

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
