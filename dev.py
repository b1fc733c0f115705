#!/usr/bin/env python3
"""Make a fresh machine ready, then hand over to Poetry.

Owns:   the folder .dev/ beside this file: Poetry in an environment of its own, the locked dependencies in another.
Uses:   Python's standard library; pip from wherever this machine has it; the package index that pip is configured for.
Never:  needs the network twice; changes anything outside .dev/ and the caches of pip and Poetry; names a package index.

How it gets there:

1. An environment without pip can be made everywhere, also where Debian leaves out ``ensurepip``.
2. pip comes from the first of: this Python, a wheel that lies beside it, the configured index, apt.
3. That pip installs Poetry; Poetry installs what ``poetry.lock`` says. Poetry reads only indexes that answer JSON; for
   all others its mirror plugin is told the address at run time.
4. A stamp is written last. Who finds no stamp starts over, so an interrupted installation is never used.
"""

from __future__ import annotations

import configparser
import hashlib
import html.parser
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

POETRY = ("poetry==2.5.1", "poetry-plugin-pypi-mirror==0.6.5")
JSON = "application/json"
PIP = "pip>=23"  # beside Poetry, only to be asked for its settings
PIP_WHEEL = "pip-26.0-py3-none-any.whl"
PIP_SHA256 = "98436feffb9e31bc9339cf369fd55d3331b1580b6a6f1173bacacddcf9c34754"
PIP_OLDEST = (22, 3)  # the first with --python

ROOT = Path(__file__).resolve().parent
DEV = ROOT / ".dev"
LOCK_INPUTS = ("poetry.lock", "pyproject.toml")

RUNS_IN_ENVIRONMENT = frozenset({"run", "install", "sync"})  # need the locked dependencies
CHANGES_ENVIRONMENT = frozenset({"add", "remove", "update"})  # leave something else than the lock file said before
STAYS_LOCAL = frozenset({"run", "env", "check", "version", "about", "help", "list", "config", "cache", "shell"})

HELP = """\
usage: python3 dev.py COMMAND ...

Makes everything ready that COMMAND needs (once: under two minutes, network needed), then runs `poetry COMMAND ...`.

  python3 dev.py run streaming demo       see the product at work
  python3 dev.py run pytest               run the tests
  python3 dev.py run pytest -k cancel     run some of them
  python3 dev.py run mypy                 check the types
  python3 dev.py run streaming serve      start a server
  python3 dev.py run python               a Python with everything installed
  python3 dev.py lock                     after a change of dependencies in pyproject.toml
  python3 dev.py env info                 where the environment is
  python3 dev.py --help                   this page; `python3 dev.py list` shows all commands of Poetry

Packages come from the index that pip is configured for (PIP_INDEX_URL, pip.conf). Everything is kept in .dev/ beside
this file, separately for each Python; remove that folder to start over. Set DEV_VERBOSE=1 to see all output.
"""

ADVICE = (
    (r"changed significantly", "Run `python3 dev.py lock`: pyproject.toml and poetry.lock do not belong together."),
    (r"No space left|Disk quota", "Make room on the disk of {root}, then run the same command again."),
    (r"(?i)certificate", "Name the right certificate file in PIP_CERT, then run the same command again."),
    (r"(?i)not allowed by the project", "Use another Python, for example `python3.12 dev.py ...`."),
    (r"(?i)hash", "The index serves other files than poetry.lock was made from. Is it a mirror that changes them?"),
    (
        r"(?i)connect|resolve|resolution|timed? ?out|unreachable|no matching|not find a version|HTTP error|40[13]",
        "Is the package index reachable? pip's own settings decide which one is asked: `pip config list`,\n"
        "PIP_INDEX_URL, PIP_CERT, HTTPS_PROXY. Then run the same command again.",
    ),
)


class SetupError(Exception):
    """Something that dev.py did for you failed."""

    def __init__(self, what: str, advice: str, output: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.advice = advice
        self.output = output


def main(arguments: Sequence[str]) -> NoReturn:
    """Prepare, then become Poetry."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(HELP, end="", file=sys.stdout if arguments else sys.stderr)
        raise SystemExit(0 if arguments else 2)
    try:
        check_machine()
        workshop = Workshop()
        environment = workshop.prepare(command_of(arguments))
    except SetupError as error:
        report(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        say("\ninterrupted; the next call starts again from a clean state")
        raise SystemExit(130) from None
    become_poetry(workshop.poetry_python, arguments, environment)


def become_poetry(python: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """The same process goes on as Poetry, so signals and the exit status need nobody to pass them on.

    Poetry is started without its script: the first line of a script breaks if the path is long or has a space.
    """
    project = [] if Path.cwd() == ROOT else ["--project", str(ROOT)]
    os.execve(python, [str(python), "-m", "poetry", *project, *arguments], environment)


def check_machine() -> None:
    """Say in words what would otherwise be a traceback."""
    if sys.version_info < (3, 11):  # noqa: UP036  # exactly this is what an old Python must be told
        found = [f"python3.{minor}" for minor in (14, 13, 12, 11) if shutil.which(f"python3.{minor}")]
        raise SetupError(
            f"this is Python {sys.version.split()[0]}, and streaming needs 3.11 or newer",
            f"Run `{found[0]} dev.py ...` instead." if found else "Install a newer Python and call it by its name.",
        )
    if os.name != "posix":
        raise SetupError("dev.py runs on Linux and macOS", "On Windows use WSL, or Poetry: `poetry install`.")


def command_of(arguments: Sequence[str]) -> str:
    """The Poetry command, behind any options of Poetry itself."""
    return next((argument for argument in arguments if not argument.startswith("-")), "")


def say(text: str, end: str = "\n") -> None:
    """Tell the person; stdout belongs to the command that follows."""
    print(text, end=end, file=sys.stderr, flush=True)


def report(error: SetupError) -> None:
    """What failed, the last it said, what to do."""
    say(f"dev.py: {error}")
    for line in error.output:
        say(f"  | {line}")
    say(error.advice)


# ---------------------------------------------------------------------------------------------------------------------
# What is ready


class Workshop:
    """The two environments that belong to this Python and this folder, and what is known about them."""

    def __init__(self, dev: Path = DEV, root: Path = ROOT) -> None:
        self.root = root
        self.home = dev / self.tag(root)
        self.poetry = self.home / "poetry"
        self.venv = self.home / "venv"
        self.poetry_python = self.poetry / "bin" / "python"

    @staticmethod
    def tag(root: Path) -> str:
        """Pythons do not share environments, and neither do two paths to one folder: paths are written into them."""
        identity = "\n".join((sys.base_prefix, sysconfig.get_platform(), sys.implementation.cache_tag or "", str(root)))
        return f"{sys.version_info.major}.{sys.version_info.minor}-{digest(identity.encode())[:8]}"

    def poetry_key(self) -> str:
        return digest("\n".join((sys.version, PIP, *POETRY)).encode())

    def venv_key(self) -> str:
        """Two parts: if only the second one is new, the environment is brought up to date in place."""
        locked = b"\0".join((self.root / name).read_bytes() for name in LOCK_INPUTS)
        return f"{digest(sys.version.encode())} {digest(locked)}"

    def prepare(self, command: str) -> dict[str, str]:
        """Make ready what this command needs; returns the environment variables to run it with."""
        needs_dependencies = command in RUNS_IN_ENVIRONMENT
        if not self.is_ready(needs_dependencies) or command in CHANGES_ENVIRONMENT:
            with held_lock(self.home) as lock:
                self.build(lock, needs_dependencies=needs_dependencies)
                if command in CHANGES_ENVIRONMENT:
                    drop_stamp(self.venv)
        return self.environment(os.environ, with_network=command not in STAYS_LOCAL)

    def environment(self, given: Mapping[str, str], *, with_network: bool) -> dict[str, str]:
        """The variables that make Poetry use the environment made here, and pip's way to the packages."""
        unwanted = {"PYTHONHOME", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONDONTWRITEBYTECODE"}
        own = {"VIRTUAL_ENV": str(self.venv), "POETRY_VIRTUALENVS_PATH": str(self.home)}
        kept = {name: value for name, value in given.items() if name not in unwanted}
        network = network_environment(given, self.poetry_python) if with_network else {}
        cache = {} if can_keep_caches(given) else {"POETRY_CACHE_DIR": str(self.home / "cache")}
        return {**cache, **self.bytecode(given), **network, **kept, **own}

    def bytecode(self, given: Mapping[str, str]) -> dict[str, str]:
        """Where none is wanted beside the sources, as in many images, it is kept here: that halves a start."""
        return {"PYTHONPYCACHEPREFIX": str(self.home / "bytecode")} if given.get("PYTHONDONTWRITEBYTECODE") else {}

    def is_ready(self, needs_dependencies: bool) -> bool:
        """Reads a few small files: this is all that happens on a second call."""
        return is_stamped(self.poetry, self.poetry_key()) and (
            is_stamped(self.venv, self.venv_key()) if needs_dependencies else has_python(self.venv)
        )

    def build(self, lock: IO[str], *, needs_dependencies: bool) -> None:
        """Everything that may take time or fail."""
        steps = Steps(self.home / "install.log", lock)
        if not is_stamped(self.poetry, self.poetry_key()):
            self.build_poetry(steps)
        if needs_dependencies and not is_stamped(self.venv, self.venv_key()):
            self.build_venv(steps)
        elif not has_python(self.venv):
            make_environment(self.venv, steps)

    def build_poetry(self, steps: Steps) -> None:
        make_environment(self.poetry, steps)
        pip = find_pip(self.poetry_python, self.home, os.environ)
        title = f"installing {POETRY[0].replace('==', ' ')}"
        steps.run(title, [*pip, "install", "--quiet", PIP, *POETRY], pip_environment(os.environ))
        write_stamp(self.poetry, self.poetry_key())

    def build_venv(self, steps: Steps) -> None:
        key = self.venv_key()
        if not has_python(self.venv) or read_stamp(self.venv).split(" ")[0] != key.split(" ")[0]:
            make_environment(self.venv, steps)
        drop_stamp(self.venv)
        environment = self.environment(os.environ, with_network=True)
        environment.setdefault("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # asks no desktop
        environment.pop("PYTHONPATH", None)
        command = [str(self.poetry_python), "-m", "poetry", "sync", "--all-extras", "--no-interaction", "--no-ansi"]
        steps.run("installing the locked dependencies", [*command, "--project", str(self.root)], environment)
        write_stamp(self.venv, key)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def has_python(environment: Path) -> bool:
    """False as well if the Python that it was made from is gone."""
    return os.access(environment / "bin" / "python", os.X_OK)


def is_stamped(environment: Path, key: str) -> bool:
    return read_stamp(environment) == key and has_python(environment)


def read_stamp(environment: Path) -> str:
    try:
        return (environment / "ready.stamp").read_text()
    except FileNotFoundError:
        return ""


def write_stamp(environment: Path, key: str) -> None:
    draft = environment / "ready.draft"
    draft.write_text(key)
    draft.replace(environment / "ready.stamp")


def drop_stamp(environment: Path) -> None:
    (environment / "ready.stamp").unlink(missing_ok=True)


@contextmanager
def held_lock(home: Path) -> Iterator[IO[str]]:
    """One installation at a time.

    The open file is handed on to the programs that install. So the lock is free only when they are gone too, even if
    this process was killed and left them behind.
    """
    import fcntl

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise SetupError(f"cannot write to {home}: {error.strerror}", "Work in a copy that belongs to you.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("dev.py: waiting for another dev.py that is installing ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def make_environment(folder: Path, steps: Steps) -> None:
    """A fresh one. Without pip, so that it works where ensurepip is missing."""
    shutil.rmtree(folder, ignore_errors=True)
    steps.run("", [sys.executable, "-m", "venv", "--without-pip", str(folder)], pip_environment(os.environ))


class Steps:
    """Runs the programs that install, shows what is going on, and keeps what they said."""

    def __init__(self, log: Path, lock: IO[str]) -> None:
        self.log = log
        self.lock = lock
        self.verbose = bool(os.environ.get("DEV_VERBOSE"))

    def run(self, title: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run one program to its end.

        Raises:
            SetupError: it failed, or it is not there.
        """
        started = time.monotonic()
        if title:
            say(f"dev.py: {title} ...", end="\n" if self.verbose else "")
        try:
            status, output = self.watch(command, environment)
        except OSError as error:
            raise SetupError(f"cannot run {command[0]}: {error.strerror}", "Is this Python complete?") from error
        if status:
            say("")
            raise SetupError(
                f"{title or Path(command[0]).name} failed with status {status}; all output is in {self.log}",
                advice_for("\n".join(output)),
                output,
            )
        if title:
            say(f" {time.monotonic() - started:.0f} s")

    def watch(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
        """Exit status and last lines."""
        tail: deque[str] = deque(maxlen=15)
        with self.log.open("a", encoding="utf-8") as log, running(command, environment, self.lock) as process:
            for line in process.stdout or ():
                log.write(line)
                tail.append(line.rstrip())
                if self.verbose:
                    say(f"  | {line}", end="")
        return process.returncode, [line for line in tail if line]


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], lock: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """A program that ends with us, with all that it started: also when a signal ends dev.py."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock.fileno(),),
        start_new_session=True,  # a process group that can be ended as a whole
    )

    def end(number: int, _frame: object) -> None:
        end_group(process)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with process:
            try:
                yield process
            except BaseException:
                end_group(process)
                raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill at once: what was half done is thrown away anyway."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def advice_for(output: str) -> str:
    """What to do about a failure, found by what the failing program said."""
    for pattern, advice in ADVICE:
        if re.search(pattern, output):
            return advice.format(root=ROOT)
    return "Run the same command again with DEV_VERBOSE=1. If it fails again, remove .dev/ and try once more."


# ---------------------------------------------------------------------------------------------------------------------
# pip: where it is and what it is configured for


def find_pip(python: Path, home: Path, environment: Mapping[str, str]) -> list[str]:
    """The command of a pip that installs into the environment of ``python``.

    Raises:
        SetupError: there is none, and none can be had.
    """
    options = ["--disable-pip-version-check", "--no-input"]
    if pip_version(sys.executable) >= PIP_OLDEST:
        return [sys.executable, "-m", "pip", "--python", str(python), *options]
    wheel = bundled_pip() or downloaded_pip(home, environment) or pip_from_apt(home)
    if wheel is None:
        raise SetupError(
            "this Python has no pip, and none could be found",
            "Do one of these, then run the same command again:\n"
            "  - install pip: `apt-get install python3-pip` on Debian and Ubuntu\n"
            "  - set PIP_INDEX_URL to the address of a package index (it ends with /simple)",
        )
    return [str(python), str(wheel / "pip"), *options]


def pip_version(python: str) -> tuple[int, ...]:
    """Of the pip that belongs to this Python; empty if it has none."""
    result = subprocess.run(
        [python, "-m", "pip", "--version"], capture_output=True, text=True, check=False, env=pip_environment(os.environ)
    )
    match = re.match(r"pip (\d+)\.(\d+)", result.stdout)
    return tuple(int(part) for part in match.groups()) if match and result.returncode == 0 else ()


def bundled_pip() -> Path | None:
    """The wheel that ensurepip would use, or that Debian keeps for it."""
    folders = [Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled"]
    if shared := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(shared))
    return next((wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))), None)


def downloaded_pip(home: Path, environment: Mapping[str, str]) -> Path | None:
    """A known pip from the index that is configured; its digest is checked."""
    settings = pip_settings(environment)
    index = settings.get("index-url")
    if not index:
        return None
    wheel = home / PIP_WHEEL
    try:
        page = index.rstrip("/") + "/pip/"
        links = Links(fetch(page, settings, "text/html").decode("utf-8", "replace"))
        content = fetch(urllib.parse.urljoin(page, links.to(PIP_WHEEL)), settings)
    except (OSError, LookupError) as error:
        say(f"\ndev.py: no pip from the configured index: {error}")
        return None
    if digest(content) != PIP_SHA256:
        raise SetupError(f"{PIP_WHEEL} from the configured index is not the right one", "Use another index.")
    wheel.write_bytes(content)
    return wheel


def pip_from_apt(home: Path) -> Path | None:
    """The wheel in Debian's own package, unpacked without installing it and without being root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    folder = home / "apt"
    for part in ("lists/partial", "cache/archives/partial", "root"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    own = ["-qq", "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    own += ["-o", "APT::Sandbox::User=root"]
    for command in (["apt-get", *own, "update"], ["apt-get", *own, "download", "python3-pip-whl"]):
        subprocess.run(command, cwd=folder, capture_output=True, check=False)
    for package in folder.glob("python3-pip-whl_*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], capture_output=True, check=False)
    return next((folder / "root").glob("usr/share/python-wheels/pip-*.whl"), None)


class Links(html.parser.HTMLParser):
    """The links of a page of a package index."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]

    def to(self, file: str) -> str:
        """The address of a file, without what follows the #."""
        for link in self.found:
            address = urllib.parse.urldefrag(link).url
            if urllib.parse.urlsplit(address).path.rsplit("/", 1)[-1] == file:
                return address
        raise LookupError(f"it does not offer {file}")


def pip_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a person has set for their own use of pip and Python must not send packages elsewhere."""
    unwanted = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"}
    return {**{name: value for name, value in environment.items() if name not in unwanted}, "PIP_USER": "0"}


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of ``pip install``, as pip reads them: files from general to personal, then PIP_... variables."""
    merged: dict[str, str] = {}
    for section in ("global", "install"):
        for file in pip_config_files(environment):
            parser = configparser.RawConfigParser()
            try:
                parser.read(file, encoding="utf-8")
            except (configparser.Error, OSError, UnicodeDecodeError):
                continue  # pip itself will say what is wrong with it
            if parser.has_section(section):
                merged.update({key.lower().replace("_", "-"): value for key, value in parser.items(section)})
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            merged[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return merged


def pip_config_files(environment: Mapping[str, str]) -> list[Path]:
    """All that may exist, the strongest last."""
    named = environment.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or Path.home())
    system = [Path(folder) / "pip" for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    user = [home / ".pip", Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip"]
    if sys.platform == "darwin":
        system.insert(0, Path("/Library/Application Support/pip"))
        user.append(home / "Library" / "Application Support" / "pip")
    if named and Path(named).exists():
        user = []
    folders = [*system, Path("/etc"), *user, Path(sys.prefix)]
    return [folder / "pip.conf" for folder in folders] + ([Path(named)] if named else [])


def fetch(url: str, settings: Mapping[str, str], accept: str = "*/*") -> bytes:
    """What the index answers.

    Raises:
        OSError: no answer, or none that helps.
    """
    return answer(url, settings, accept)[1]


def answer(url: str, settings: Mapping[str, str], accept: str) -> tuple[str, bytes]:
    """Content type and body."""
    address, user, password = split_credentials(url)
    request = urllib.request.Request(address, headers={"Accept": accept, "User-Agent": "dev.py"})  # noqa: S310  # an address of pip's own configuration
    if user:
        import base64

        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=settings.get("cert")))
    ]
    if proxy := settings.get("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=20) as response:
            return response.headers.get_content_type(), response.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise


def split_credentials(url: str) -> tuple[str, str, str]:
    """The address without user and password, and the two."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url, "", ""
    host = parts.netloc.rpartition("@")[2]
    unquote = urllib.parse.unquote
    return parts._replace(netloc=host).geturl(), unquote(parts.username or ""), unquote(parts.password or "")


# ---------------------------------------------------------------------------------------------------------------------
# Poetry's way to the packages


def network_environment(environment: Mapping[str, str], python: Path) -> dict[str, str]:
    """Variables that make Poetry go where pip goes; whatever is set already wins over them."""
    settings = pip_settings(environment)
    found: dict[str, str] = {}
    if certificates := settings.get("cert") or environment.get("SSL_CERT_FILE") or system_certificates():
        found["REQUESTS_CA_BUNDLE"] = certificates
    if proxy := settings.get("proxy"):
        found |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    if index := mirror(settings, python):
        address, user, password = split_credentials(index)
        found["POETRY_PYPI_MIRROR_URL"] = address.rstrip("/") + "/"
        if user:
            found |= {"POETRY_HTTP_BASIC_PYPI_USERNAME": user, "POETRY_HTTP_BASIC_PYPI_PASSWORD": password}
    return found


def can_keep_caches(environment: Mapping[str, str]) -> bool:
    """Accounts that run services often have a home that is not there, or not theirs."""
    home = Path(environment.get("HOME") or Path.home())
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    return os.access(cache, os.W_OK)


def system_certificates() -> str | None:
    """What Python itself trusts on this machine."""
    return ssl.get_default_verify_paths().cafile


def mirror(settings: Mapping[str, str], python: Path) -> str | None:
    """The index that Poetry has to be told about, if it is not the one it would ask and understand by itself."""
    ordinary = default_index(python)
    index = settings.get("index-url") or ordinary
    if index is None or (index.rstrip("/") == (ordinary or "").rstrip("/") and answers_poetry(index, settings)):
        return None
    return index


def default_index(python: Path) -> str | None:
    """The address that pip asks unless told otherwise, from its own help: so it need not be written here."""
    environment = {**pip_environment({}), "COLUMNS": "400"}
    command = [str(python), "-m", "pip", "--isolated", "install", "--help"]
    page = subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout
    match = re.search(r"--index-url\b.*?\(default\s+(\S+?)\)", page, re.DOTALL)
    return match.group(1) if match else None


def answers_poetry(index: str, settings: Mapping[str, str]) -> bool:
    """Whether it speaks the language of package indexes that Poetry expects there, and has the pages of releases too.

    Some mirrors have the first alone, and Poetry finds nothing in them without its interpreter.
    """
    pages, wanted = index.rstrip("/"), "application/vnd.pypi.simple.v1+json"
    release = f"{pages.removesuffix('/simple')}/pypi/{POETRY[0].replace('==', '/')}/json"
    try:
        kinds = [answer(url, settings, kind)[0] for url, kind in ((f"{pages}/pip/", wanted), (release, JSON))]
    except OSError:
        return False
    return kinds == [wanted, JSON]


if __name__ == "__main__":
    main(sys.argv[1:])
