"""dev.py makes a fresh machine ready: which pip, which index, when to start over, and how it ends.

No network here: an index is a small server on the loopback interface, and nothing is installed.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import dev

ORDINARY = "http://ordinary.example/simple"
OTHER = "http://other.example/simple"


# --- what a person types ---------------------------------------------------------------------------------------------


def test_help_shows_the_commands_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dev.main(["--help"])

    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert "python3 dev.py run streaming demo" in shown
    assert "python3 dev.py run pytest" in shown


def test_no_command_is_a_mistake_and_installs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dev.main([])

    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.out == ""
    assert "usage: python3 dev.py COMMAND" in captured.err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(["run", "pytest", "-q"], "run"), (["-q", "lock"], "lock"), (["--version"], ""), (["run", "--help"], "run")],
)
def test_the_command_is_found_behind_options(arguments: list[str], command: str) -> None:
    assert dev.command_of(arguments) == command


def test_an_old_python_is_told_so_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == "python3.12" else None)

    with pytest.raises(dev.SetupError, match=r"needs 3\.11 or newer") as error:
        dev.check_machine()

    assert error.value.advice == "Run `python3.12 dev.py ...` instead."


def test_a_failure_says_what_failed_the_last_output_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_workshop: dev.Workshop, _command: str) -> dict[str, str]:
        raise dev.SetupError("installing failed", "Try this.", ["line 1", "line 2"])

    monkeypatch.setattr(dev.Workshop, "prepare", fail)

    with pytest.raises(SystemExit) as end:
        dev.main(["run", "pytest"])

    captured = capsys.readouterr()
    assert end.value.code == 1
    assert captured.err == "dev.py: installing failed\n  | line 1\n  | line 2\nTry this.\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("pyproject.toml changed significantly since poetry.lock was last generated.", "dev.py lock"),
        ("OSError: [Errno 28] No space left on device", "Make room"),
        ("All attempts to connect to other.example failed.", "PIP_INDEX_URL"),
        ("ERROR: No matching distribution found for poetry==2.5.1", "PIP_INDEX_URL"),
        ("Current Python version (3.15.0) is not allowed by the project", "another Python"),
        ("Segmentation fault", "DEV_VERBOSE=1"),
    ],
)
def test_the_advice_fits_the_failure(said: str, advice: str) -> None:
    assert advice in dev.advice_for(said)


@pytest.mark.parametrize(("elsewhere", "project"), [(False, []), (True, ["--project", str(dev.ROOT)])])
def test_poetry_takes_over_the_process_and_finds_the_project(
    elsewhere: bool, project: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_over(*arguments: object) -> None:
        raise TakenOver(*arguments)

    monkeypatch.setattr(os, "execve", take_over)
    monkeypatch.chdir(tmp_path if elsewhere else dev.ROOT)

    with pytest.raises(TakenOver) as end:
        dev.become_poetry(Path("/poetry/python"), ["run", "pytest"], {"A": "1"})

    argv = ["/poetry/python", "-m", "poetry", *project, "run", "pytest"]
    assert end.value.args == (Path("/poetry/python"), argv, {"A": "1"})


class TakenOver(BaseException):
    """Nothing of dev.py runs after this, as after execve."""


# --- what is ready, and when to start over ---------------------------------------------------------------------------


class RecordedSteps(dev.Steps):
    """Installs nothing; creates the Python that an environment would have."""

    def __init__(self, *, fails_at: str = "nothing") -> None:
        self.fails_at = fails_at
        self.done: list[str] = []

    def run(self, title: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        step = "environment" if "venv" in command else next(word for word in command if word in {"install", "sync"})
        if step == self.fails_at:
            raise dev.SetupError("failed", "Try again.")
        self.done.append(step)
        if step == "environment":
            give_python(Path(command[-1]))


def give_python(environment: Path) -> None:
    (environment / "bin").mkdir(parents=True, exist_ok=True)
    (environment / "bin" / "python").symlink_to(sys.executable)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dev.Workshop:
    """A project with two files, for which nothing is installed yet."""
    for name in dev.LOCK_INPUTS:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(dev, "network_environment", lambda _environment, _python: {"NETWORK": "1"})
    return dev.Workshop(tmp_path / ".dev", tmp_path)


@pytest.fixture
def steps(workshop: dev.Workshop, monkeypatch: pytest.MonkeyPatch) -> RecordedSteps:
    recorded = RecordedSteps()
    monkeypatch.setattr(dev, "Steps", lambda _log, _lock: recorded)
    monkeypatch.setattr(dev, "find_pip", lambda _python, _home, _environment: ["pip"])
    return recorded


def test_the_first_call_installs_everything_and_the_second_one_nothing(
    workshop: dev.Workshop, steps: RecordedSteps
) -> None:
    workshop.prepare("run")
    assert steps.done == ["environment", "install", "environment", "sync"]

    workshop.prepare("run")
    assert len(steps.done) == 4


def test_a_command_that_runs_nothing_gets_poetry_and_an_empty_environment(
    workshop: dev.Workshop, steps: RecordedSteps
) -> None:
    workshop.prepare("lock")
    workshop.prepare("lock")

    assert steps.done == ["environment", "install", "environment"]


def test_an_interrupted_installation_is_done_again_from_the_start(workshop: dev.Workshop, steps: RecordedSteps) -> None:
    steps.fails_at = "sync"
    with pytest.raises(dev.SetupError):
        workshop.prepare("run")
    (workshop.venv / "half").touch()

    steps.fails_at = "nothing"
    steps.done.clear()
    workshop.prepare("run")

    assert steps.done == ["environment", "sync"]
    assert not (workshop.venv / "half").exists()


def test_an_interrupted_poetry_is_done_again_from_the_start(workshop: dev.Workshop, steps: RecordedSteps) -> None:
    steps.fails_at = "install"
    with pytest.raises(dev.SetupError):
        workshop.prepare("run")
    (workshop.poetry / "half").touch()

    steps.fails_at = "nothing"
    workshop.prepare("run")

    assert not (workshop.poetry / "half").exists()


@pytest.mark.parametrize("name", dev.LOCK_INPUTS)
def test_a_new_lock_file_updates_the_environment_in_place(
    name: str, workshop: dev.Workshop, steps: RecordedSteps
) -> None:
    workshop.prepare("run")
    steps.done.clear()

    (workshop.root / name).write_text("changed")
    workshop.prepare("run")

    assert steps.done == ["sync"]


def test_an_update_in_place_that_fails_is_not_trusted(workshop: dev.Workshop, steps: RecordedSteps) -> None:
    workshop.prepare("run")
    (workshop.root / "poetry.lock").write_text("changed")
    steps.fails_at = "sync"
    with pytest.raises(dev.SetupError):
        workshop.prepare("run")

    steps.fails_at = "nothing"
    steps.done.clear()
    (workshop.root / "poetry.lock").write_text("poetry.lock")
    workshop.prepare("run")

    assert steps.done == ["environment", "sync"]


def test_a_python_that_was_updated_gets_new_environments(
    workshop: dev.Workshop, steps: RecordedSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.prepare("run")
    steps.done.clear()

    monkeypatch.setattr(sys, "version", "3.99.0")
    workshop.prepare("run")

    assert steps.done == ["environment", "install", "environment", "sync"]


def test_a_python_that_was_removed_is_noticed(workshop: dev.Workshop, steps: RecordedSteps) -> None:
    workshop.prepare("run")
    steps.done.clear()

    (workshop.venv / "bin" / "python").unlink()
    (workshop.venv / "bin" / "python").symlink_to("/gone")
    workshop.prepare("run")

    assert steps.done == ["environment", "sync"]


@pytest.mark.parametrize("command", sorted(dev.CHANGES_ENVIRONMENT))
def test_after_a_change_of_dependencies_the_environment_is_made_anew(
    command: str, workshop: dev.Workshop, steps: RecordedSteps
) -> None:
    workshop.prepare("run")
    workshop.prepare(command)
    steps.done.clear()

    workshop.prepare("run")

    assert steps.done == ["environment", "sync"]


def test_two_folders_and_two_pythons_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {dev.Workshop.tag(tmp_path / "a"), dev.Workshop.tag(tmp_path / "b")}
    monkeypatch.setattr(sys, "base_prefix", "/another/python")
    tags |= {dev.Workshop.tag(tmp_path / "a"), dev.Workshop.tag(tmp_path / "b")}

    assert len(tags) == 4


def test_a_command_runs_in_the_environment_of_this_project_only(
    workshop: dev.Workshop, steps: RecordedSteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/another/environment")
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "base")
    monkeypatch.setenv("STREAMING_PORT", "8080")

    environment = workshop.prepare("run")

    assert environment["VIRTUAL_ENV"] == str(workshop.venv)
    assert environment["STREAMING_PORT"] == "8080"
    assert "CONDA_DEFAULT_ENV" not in environment
    assert "NETWORK" not in environment
    assert workshop.prepare("lock")["NETWORK"] == "1"


def test_a_folder_of_somebody_else_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(dev.SetupError, match="cannot write to"), dev.held_lock(tmp_path / "file" / "home"):
        pass


# --- one at a time, and no orphans -----------------------------------------------------------------------------------


def test_the_second_one_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def second() -> None:
        with dev.held_lock(tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    with dev.held_lock(tmp_path):
        thread.start()
        while "waiting for another" not in capsys.readouterr().err:
            time.sleep(0.001)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def steps_in(folder: Path, lock: object) -> dev.Steps:
    return dev.Steps(folder / "install.log", lock)  # type: ignore[arg-type]  # a stand-in for the lock


def test_output_of_a_program_that_fails_is_kept_and_its_end_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "print('\\n'.join(f'line {n}' for n in range(30))); raise SystemExit(3)"

    with (
        dev.held_lock(tmp_path) as lock,
        pytest.raises(dev.SetupError, match="installing failed with status 3") as error,
    ):
        steps_in(tmp_path, lock).run("installing", [sys.executable, "-c", program], os.environ)

    assert error.value.output == [f"line {n}" for n in range(15, 30)]
    assert (tmp_path / "install.log").read_text().count("\n") == 30
    assert "installing ..." in capsys.readouterr().err


def test_all_output_is_shown_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEV_VERBOSE", "1")

    with dev.held_lock(tmp_path) as lock:
        steps_in(tmp_path, lock).run("installing", [sys.executable, "-c", "print('hello')"], os.environ)

    assert "  | hello\n" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with dev.held_lock(tmp_path) as lock, pytest.raises(dev.SetupError, match="cannot run /gone: No such file"):
        steps_in(tmp_path, lock).run("installing", ["/gone"], os.environ)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_installation_with_everything_it_started(number: signal.Signals, tmp_path: Path) -> None:
    """pip starts a second pip: that one must be gone too, or it goes on writing into the environment."""
    installer = "sh -c 'echo $$; exec sleep 60' & wait"
    script = textwrap.dedent(
        f"""
        import dev, os, pathlib, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
        folder = pathlib.Path({str(tmp_path)!r})
        with dev.held_lock(folder) as lock:
            dev.Steps(folder / "install.log", lock).run("", ["sh", "-c", {installer!r}], os.environ)
        """
    )
    environment = {**os.environ, "DEV_VERBOSE": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=dev.ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        grandchild = int(process.stderr.readline().removeprefix("  | "))
        process.send_signal(number)
        process.stderr.read()

    assert process.returncode == -number
    while is_running(grandchild):
        time.sleep(0.001)


def is_running(pid: int) -> bool:
    """A killed orphan stays a zombie until somebody asks for its status, which in a container may be nobody."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- which pip -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine without any pip; a test gives it one."""
    found: dict[str, Path | None] = {"bundled": None, "downloaded": None, "apt": None}
    monkeypatch.setattr(dev, "pip_version", lambda _python: ())
    monkeypatch.setattr(dev, "bundled_pip", lambda: found["bundled"])
    monkeypatch.setattr(dev, "downloaded_pip", lambda _home, _environment: found["downloaded"])
    monkeypatch.setattr(dev, "pip_from_apt", lambda _home: found["apt"])
    return SimpleNamespace(found=found)


def test_the_pip_of_this_python_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "pip_version", lambda _python: (23, 0))

    pip = dev.find_pip(Path("/poetry/python"), tmp_path, {})

    assert pip[:5] == [sys.executable, "-m", "pip", "--python", "/poetry/python"]


@pytest.mark.parametrize("source", ["bundled", "downloaded", "apt"])
def test_a_wheel_of_pip_installs_by_the_python_it_installs_for(
    source: str, no_pip: SimpleNamespace, tmp_path: Path
) -> None:
    no_pip.found[source] = Path("/wheels/pip.whl")

    pip = dev.find_pip(Path("/poetry/python"), tmp_path, {})

    assert pip[:2] == ["/poetry/python", "/wheels/pip.whl/pip"]


def test_a_pip_that_cannot_install_for_another_python_is_passed_over(
    no_pip: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "pip_version", lambda _python: (22, 2))
    no_pip.found["bundled"] = Path("/wheels/pip.whl")

    assert dev.find_pip(Path("/poetry/python"), tmp_path, {})[1] == "/wheels/pip.whl/pip"


def test_no_pip_anywhere_names_two_ways_out(no_pip: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(dev.SetupError, match="no pip") as error:
        dev.find_pip(Path("/poetry/python"), tmp_path, {})

    assert "apt-get install python3-pip" in error.value.advice
    assert "PIP_INDEX_URL" in error.value.advice


def test_debian_keeps_the_wheel_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "pip-23.0.1-py3-none-any.whl"
    wheel.touch()
    monkeypatch.setattr("sysconfig.get_path", lambda _name: "/nowhere")
    monkeypatch.setattr("sysconfig.get_config_var", lambda _name: str(tmp_path))

    assert dev.bundled_pip() == wheel


def test_a_python_without_pip_has_no_version_of_it(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)

    assert dev.pip_version(str(python)) == ()

    python.write_text("#!/bin/sh\necho 'pip 23.0.1 from /somewhere (python 3.11)'\n")

    assert dev.pip_version(str(python)) == (23, 0)


def test_personal_settings_do_not_send_packages_elsewhere() -> None:
    environment = dev.pip_environment({"PIP_TARGET": "/mine", "PYTHONPATH": "/mine", "PIP_INDEX_URL": OTHER})

    assert environment == {"PIP_INDEX_URL": OTHER, "PIP_USER": "0"}


# --- which index -----------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Variables of a person whose home is empty, on a machine without settings."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def configure(file: Path, **sections: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"[{name}]\nindex-url = {value}\n" for name, value in sections.items()))
    return file


def index_url(environment: Mapping[str, str]) -> str | None:
    return dev.pip_settings(environment).get("index-url")


def test_the_settings_of_the_person_win_over_those_of_the_machine(home: dict[str, str], tmp_path: Path) -> None:
    configure(tmp_path / "xdg/pip/pip.conf", **{"global": "machine"})
    assert index_url(home) == "machine"

    configure(tmp_path / ".pip/pip.conf", **{"global": "person, as it was written long ago"})
    assert index_url(home) == "person, as it was written long ago"

    configure(tmp_path / ".config/pip/pip.conf", **{"global": "person"})
    assert index_url(home) == "person"

    configure(tmp_path / "xdg/pip/pip.conf", **{"global": "machine", "install": "machine, install only"})
    assert index_url(home) == "machine, install only"

    assert index_url({**home, "PIP_INDEX_URL": "variable"}) == "variable"
    assert index_url({**home, "PIP_INDEX_URL": ""}) == "machine, install only"


def test_a_file_that_is_named_replaces_those_of_the_person(home: dict[str, str], tmp_path: Path) -> None:
    configure(tmp_path / ".config/pip/pip.conf", **{"global": "person"})
    named = configure(tmp_path / "named.conf", **{"global": "named"})

    assert index_url({**home, "PIP_CONFIG_FILE": str(named)}) == "named"
    assert index_url({**home, "PIP_CONFIG_FILE": str(tmp_path / "gone")}) == "person"
    assert index_url({**home, "PIP_CONFIG_FILE": os.devnull}) is None


def test_other_settings_are_found_however_they_are_spelt(home: dict[str, str], tmp_path: Path) -> None:
    file = configure(tmp_path / ".config/pip/pip.conf", **{"global": OTHER})
    file.write_text(file.read_text() + "Cert = /a.pem\nextra_index_url = one\n  two\nproxy = http://%40proxy\n")

    settings = dev.pip_settings({**home, "PIP_DEFAULT_TIMEOUT": "9"})

    assert settings["cert"] == "/a.pem"
    assert settings["extra-index-url"] == "one\ntwo"
    assert settings["proxy"] == "http://%40proxy"
    assert settings["default-timeout"] == "9"


def test_a_broken_settings_file_is_left_for_pip_to_complain_about(home: dict[str, str], tmp_path: Path) -> None:
    configure(tmp_path / "xdg/pip/pip.conf", **{"global": "machine"})
    configure(tmp_path / ".config/pip/pip.conf").write_bytes(b"\xff[[[")

    assert index_url(home) == "machine"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (OTHER, (OTHER, "", "")),
        ("http://me:s%40cret@other.example/simple", (OTHER, "me", "s@cret")),
        ("http://token@other.example/simple", (OTHER, "token", "")),
        ("http://me:x@other.example:8080/simple", ("http://other.example:8080/simple", "me", "x")),
    ],
)
def test_user_and_password_are_no_part_of_the_address(url: str, parts: tuple[str, str, str]) -> None:
    assert dev.split_credentials(url) == parts


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "default_index", lambda _python: ORDINARY)


@pytest.mark.usefixtures("ordinary")
@pytest.mark.parametrize(
    ("settings", "json", "expected"),
    [
        ({}, True, None),
        ({"index-url": ORDINARY + "/"}, True, None),
        ({}, False, ORDINARY),
        ({"index-url": OTHER}, True, OTHER),
        ({"index-url": OTHER}, False, OTHER),
    ],
)
def test_poetry_is_told_of_every_index_that_it_would_not_find_or_not_understand(
    settings: dict[str, str], json: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "answers_poetry", lambda _index, _settings: json)

    assert dev.mirror(settings, Path("/poetry/python")) == expected


@pytest.mark.usefixtures("ordinary")
def test_poetry_gets_the_index_the_certificate_and_the_proxy_of_pip(home: dict[str, str]) -> None:
    settings = {
        "PIP_INDEX_URL": "http://me:s%40cret@other.example/simple",
        "PIP_CERT": "/a.pem",
        "PIP_PROXY": "http://p",
    }

    found = dev.network_environment({**home, **settings}, Path("/poetry/python"))

    assert found == {
        "POETRY_PYPI_MIRROR_URL": OTHER + "/",
        "POETRY_HTTP_BASIC_PYPI_USERNAME": "me",
        "POETRY_HTTP_BASIC_PYPI_PASSWORD": "s@cret",
        "REQUESTS_CA_BUNDLE": "/a.pem",
        "HTTP_PROXY": "http://p",
        "HTTPS_PROXY": "http://p",
    }


@pytest.mark.usefixtures("ordinary")
def test_what_a_person_has_set_for_poetry_is_left_alone(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**home, "PIP_INDEX_URL": OTHER, "POETRY_PYPI_MIRROR_URL": "mine", "REQUESTS_CA_BUNDLE": "/mine.pem"}

    environment = dev.Workshop(tmp_path / ".dev", tmp_path).environment(given, with_network=True)

    assert environment["POETRY_PYPI_MIRROR_URL"] == "mine"
    assert environment["REQUESTS_CA_BUNDLE"] == "/mine.pem"


def test_an_account_without_a_home_keeps_its_caches_beside_the_environment(tmp_path: Path) -> None:
    workshop = dev.Workshop(tmp_path / ".dev", tmp_path)
    (tmp_path / "file").touch()
    homeless = {"HOME": str(tmp_path / "file" / "home")}

    assert workshop.environment(homeless, with_network=False)["POETRY_CACHE_DIR"] == str(workshop.home / "cache")
    assert "POETRY_CACHE_DIR" not in workshop.environment({"HOME": str(tmp_path)}, with_network=False)


@pytest.mark.parametrize(
    ("given", "kept_in"),
    [
        ({}, None),
        ({"PYTHONDONTWRITEBYTECODE": ""}, None),
        ({"PYTHONDONTWRITEBYTECODE": "1"}, "bytecode"),
        ({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/mine"}, "/mine"),
    ],
)
def test_who_wants_no_bytecode_beside_the_sources_has_it_beside_the_environment(
    given: dict[str, str], kept_in: str | None, tmp_path: Path
) -> None:
    workshop = dev.Workshop(tmp_path / ".dev", tmp_path)

    environment = workshop.environment({"HOME": str(tmp_path), **given}, with_network=False)

    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment.get("PYTHONPYCACHEPREFIX") == (kept_in and str(workshop.home / kept_in))


def test_the_ordinary_index_is_the_one_that_pip_names_in_its_help(tmp_path: Path) -> None:
    python = tmp_path / "python"
    page = f"  -i, --index-url <url>  Base URL of the Python Package Index (default\n       {ORDINARY}). This should"
    python.write_text(f"#!/bin/sh\ncat <<'EOF'\n{page}\nEOF\n")
    python.chmod(0o755)
    assert dev.default_index(python) == ORDINARY

    python.write_text("#!/bin/sh\nexit 1\n")
    assert dev.default_index(python) is None


# --- an index that answers -------------------------------------------------------------------------------------------


class Index(http.server.ThreadingHTTPServer):
    """A package index with one project, which wants a password if it has one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.files: dict[str, bytes] = {}
        self.content_type = "text/html"
        self.has_releases = True
        self.password = ""

    @property
    def url(self) -> str:
        credentials = f"me:{self.password}@" if self.password else ""
        return f"http://{credentials}127.0.0.1:{self.server_port}/simple"


class IndexHandler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        expected = "Basic " + b64encode(f"me:{self.server.password}".encode()).decode()
        if self.server.password and self.headers["Authorization"] != expected:
            self.send_error(401)
        elif self.path == "/simple/pip/":
            links = (f'<a href="../../files/{name}#sha256=0">{name}</a>' for name in self.server.files)
            self.reply("".join(links).encode())
        elif self.path.startswith("/files/"):
            self.reply(self.server.files[self.path.removeprefix("/files/")])
        elif self.server.has_releases and self.path.startswith("/pypi/poetry/"):
            self.reply(b"{}", "application/json")
        else:
            self.send_error(404)

    def reply(self, body: bytes, content_type: str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type or self.server.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offered_pip(index: Index, monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = b"a wheel of pip"
    index.files = {"pip-1.0.tar.gz": b"too old", dev.PIP_WHEEL: content}
    monkeypatch.setattr(dev, "PIP_SHA256", hashlib.sha256(content).hexdigest())
    return content


@pytest.mark.parametrize("password", ["", "secret"])
def test_pip_is_taken_from_the_configured_index(
    password: str, offered_pip: bytes, index: Index, home: dict[str, str], tmp_path: Path
) -> None:
    index.password = password

    wheel = dev.downloaded_pip(tmp_path, {**home, "PIP_INDEX_URL": index.url})

    # A link on a page that wanted a password is on the same server, so it is asked for with the same password.
    assert wheel is not None
    assert wheel.read_bytes() == offered_pip


@pytest.mark.usefixtures("offered_pip")
def test_a_pip_that_is_not_the_known_one_is_refused(index: Index, home: dict[str, str], tmp_path: Path) -> None:
    index.files[dev.PIP_WHEEL] = b"something else"

    with pytest.raises(dev.SetupError, match="not the right one"):
        dev.downloaded_pip(tmp_path, {**home, "PIP_INDEX_URL": index.url})

    assert not (tmp_path / dev.PIP_WHEEL).exists()


def test_an_index_without_pip_or_without_an_answer_is_passed_over(
    index: Index, home: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev.downloaded_pip(tmp_path, {**home, "PIP_INDEX_URL": index.url}) is None
    assert dev.downloaded_pip(tmp_path, {**home, "PIP_INDEX_URL": index.url + "/gone"}) is None
    assert dev.downloaded_pip(tmp_path, home) is None

    said = capsys.readouterr().err
    assert f"it does not offer {dev.PIP_WHEEL}" in said
    assert "404" in said


def test_an_index_is_asked_which_language_it_speaks(index: Index) -> None:
    assert not dev.answers_poetry(index.url, {})

    index.content_type = "application/vnd.pypi.simple.v1+json"
    assert dev.answers_poetry(index.url, {})
    assert dev.answers_poetry(index.url + "/", {})
    assert not dev.answers_poetry(index.url + "/gone", {})


def test_an_index_without_the_pages_of_releases_needs_an_interpreter(index: Index) -> None:
    index.content_type = "application/vnd.pypi.simple.v1+json"
    index.has_releases = False

    assert not dev.answers_poetry(index.url, {})


# --- promises about the repository -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dev.py", "poetry.lock"])
def test_no_package_index_is_named_in_the_repository(name: str) -> None:
    text = (dev.ROOT / name).read_text()

    assert "://" not in text
    assert "[package.source]" not in text
