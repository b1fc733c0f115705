"""Build what the Dockerfile builds, without Docker, and run it: ``python -m tests.deploy.image``.

Each RUN, COPY and ENV of the file is carried out as it stands, below a folder instead of ``/``. Then the command of the
image runs with the environment of the image, is asked by its health check, and gets its stop signal. What needs root or
another machine is left out: the user, the base image. It takes a minute or two and a package index, so it is no test of
the suite, but a step of ``.ci/run``.

Owns:   carrying out instructions; a report of what was seen, and exit status 1 if it is not what it should be.
Never:  leaves anything behind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dev
from tests.deploy.files import DEPLOY, Instruction, instructions
from tests.serving import ROOT

#: What the file names below ``/``.
PLACES = ("/opt/poetry", "/opt/streaming", "/src", "/dist", "/app", "/data")

#: Seconds until the health check must say yes, and from the signal to the exit.
START_S, STOP_S = 60.0, 10.0

#: A credential, without which the server does not listen on all addresses.
KEYS = "0123456789abcdef0123456789abcdef:ops:admin"


class Image:
    """What the instructions have made so far.

    Args:
        root: stands for ``/``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.directory = "/"
        self.stage = 0
        self.found: dict[str, Instruction] = {}

    def place(self, text: str) -> str:
        """A text with the places of the image below the root."""
        return re.sub(rf"(?<![\w.])({'|'.join(PLACES)})(?![\w-])", rf"{self.root}\1", text)

    def carry_out(self, instruction: Instruction) -> None:
        """One instruction."""
        word, text = instruction
        self.found[word] = instruction
        if word == "FROM":
            self.stage += 1
            self.environment = dict(os.environ) if self.stage == 1 else {"HOME": str(self.root), "PATH": os.defpath}
        elif word == "ENV":
            for name, value in (pair.split("=", 1) for pair in self.place(text).split()):
                self.environment[name] = string.Template(value).safe_substitute(self.environment)
        elif word == "WORKDIR":
            self.directory = self.place(text)
            Path(self.directory).mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and not text.startswith("--from"):
            self._copy(*text.split())
        elif word == "RUN" and self.stage == 1:
            self._run(self.place(text))

    def _copy(self, *names: str) -> None:
        target = Path(self.directory, names[-1])
        for name in names[:-1]:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def _run(self, command: str) -> None:
        begun = time.monotonic()
        subprocess.run(["/bin/bash", "-ec", command], cwd=self.directory, env=self.environment, check=True)
        print(f"{time.monotonic() - begun:5.1f} s  RUN {command.replace(str(self.root), '')[:90]}", flush=True)
        if "pip install" in command and "poetry==" in command:
            self._lead_poetry_to_the_packages()

    def _lead_poetry_to_the_packages(self) -> None:
        """Behind a mirror Poetry needs what dev.py gives it; an image is built where there is none."""
        python = self.root / "opt/poetry/bin/python"
        self.environment |= dev.network_environment(os.environ, python)
        if "POETRY_PYPI_MIRROR_URL" in self.environment:
            subprocess.run([python, "-m", "pip", "install", "-q", *dev.POETRY[1:]], check=True)


def build(root: Path) -> Image:
    """Carry out the whole file."""
    image = Image(root)
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to(sys.executable)
    for instruction in instructions(DEPLOY / "Dockerfile"):
        image.carry_out(instruction)
    return image


def refuses_to_be_open(image: Image) -> bool:
    """Without a credential the command of the image ends with a usage error."""
    done = subprocess.run(
        image.found["CMD"].words,
        cwd=image.directory,
        env={**image.environment, "STREAMING_PORT": _free_port()},
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )
    return done.returncode == 2 and "No credentials are configured" in done.stderr


def runs(image: Image) -> bool:
    """The command of the image is healthy by its own check, and ends with its own signal."""
    keys = image.root / "keys"
    keys.write_text(KEYS)
    keys.chmod(0o400)
    environment = {**image.environment, "STREAMING_PORT": _free_port(), "STREAMING_API_KEYS_FILE": str(keys)}
    process = subprocess.Popen(image.found["CMD"].words, cwd=image.directory, env=environment)
    try:
        begun = time.monotonic()
        while subprocess.run(image.found["HEALTHCHECK"].words, env=environment, stderr=-3, check=False).returncode:
            if time.monotonic() - begun > START_S or process.poll() is not None:
                return False
        print(f"{time.monotonic() - begun:5.1f} s  healthy")
        begun = time.monotonic()
        process.send_signal(signal.Signals[image.found["STOPSIGNAL"].text])
        status = process.wait(STOP_S)
        print(f"{time.monotonic() - begun:5.1f} s  ended with {status}")
        return status == 0 and Path(image.directory, "streaming.db").is_file()
    finally:
        process.kill()
        process.wait()


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def main() -> int:
    """Build and run it; the exit status."""
    with tempfile.TemporaryDirectory(prefix="streaming-image-") as name:
        image = build(Path(name))
        # The programs of the image only: PATH has nothing else of ours.
        image.environment["PATH"] = f"{image.root}/opt/streaming/bin:{os.defpath}"
        seen = {
            "closed without credentials": refuses_to_be_open(image),
            "healthy, and ended by its signal": runs(image),
        }
    for what, right in seen.items():
        print(f"{'ok' if right else 'WRONG':>7}  {what}")
    return 0 if all(seen.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
