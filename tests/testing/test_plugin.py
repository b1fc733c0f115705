"""The plugin runs what is marked in many schedules, leaves the rest alone, and tells how to see a failure again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT

#: Fails in some order of the two, and not in the one that asyncio happens to take.
RACE = """
import asyncio
import pytest

@pytest.mark.simulated(schedules=100)
async def test_race(world):
    balance = 0

    async def pay(steps):
        nonlocal balance
        for _ in range(steps):
            await asyncio.sleep(0)
        read = balance
        await asyncio.sleep(0)
        balance = read + 1

    await asyncio.gather(pay(0), pay(3))
    assert balance == 2
"""

#: Appends a line to a file in each schedule.
COUNTED = """
import asyncio
import pytest
from pathlib import Path

def count(name="runs"):
    with Path(__file__).with_name(name).open("a") as file:
        file.write("x")
"""

pytestmark = pytest.mark.process


@pytest.fixture
def tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for tests of its own, run the same wherever this runs: with CI set, pytest repeats messages."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyprojecttoml(
        """
        [tool.pytest]
        strict_markers = true
        filterwarnings = ["error::RuntimeWarning", "error::pytest.PytestUnraisableExceptionWarning"]
        """
    )
    return pytester


#: Other plugins are left out: they take longer to start than the tests.
OURS = ("-p", "streaming.testing.plugin")
ASYNCIO = ("-p", "pytest_asyncio.plugin")


def run(tests: pytest.Pytester, *options: str, plugins: tuple[str, ...] = OURS) -> pytest.RunResult:
    with pytest.MonkeyPatch.context() as patch:
        if plugins:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return tests.runpytest_subprocess("-p", "no:cacheprovider", *plugins, *options)


def runs(tests: pytest.Pytester, name: str = "runs") -> int:
    return len((tests.path / name).read_text())


# -- what is run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugins", "options"),
    [((), ()), (OURS, ()), (OURS + ASYNCIO, ("--asyncio-mode=auto",)), (ASYNCIO + OURS, ("--asyncio-mode=strict",))],
    ids=["as it comes", "alone", "auto", "strict"],
)
def test_a_marked_test_runs_in_each_schedule_in_a_new_world(
    tests: pytest.Pytester, plugins: tuple[str, ...], options: tuple[str, ...]
) -> None:
    tests.makepyfile(
        COUNTED
        + """
worlds = []

@pytest.fixture
def seven():
    return 7

@pytest.mark.simulated(schedules=5)
async def test_one(world, seven, tmp_path):
    count()
    assert world not in worlds
    worlds.append(world)
    assert (seven, tmp_path.is_dir()) == (7, True)
    assert asyncio.get_running_loop() is world.loop
    await asyncio.sleep(3600)

class TestSome:
    @pytest.mark.simulated(schedules=2)
    async def test_in_a_class(self):
        count("class_runs")

@pytest.mark.simulated(schedules=2)
class TestMarked:
    async def test_by_its_class(self, world):
        count("class_runs")

    @pytest.mark.simulated(schedules=3)
    async def test_by_itself(self, world):
        count("class_runs")

@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.simulated(schedules=4)
async def test_each(world, number):
    count("each_runs")
    assert number in (1, 2, 3)
"""
    )

    result = run(tests, *options, plugins=plugins)

    result.assert_outcomes(passed=7)
    assert (runs(tests), runs(tests, "class_runs"), runs(tests, "each_runs")) == (5, 2 + 2 + 3, 12)


def test_other_tests_are_left_alone(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
import asyncio, pytest, unittest

def test_plain():
    pass

@pytest.mark.asyncio
async def test_asyncio():
    assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")

class TestOld(unittest.TestCase):
    def test_old(self):
        pass
"""
    )

    run(tests, "--asyncio-mode=strict", plugins=OURS + ASYNCIO).assert_outcomes(passed=3)


def test_the_faults_of_the_marker_are_those_of_the_world(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
import pytest
from streaming.testing import CALM, STORMY

@pytest.mark.simulated(faults=STORMY, schedules=2, order="uniform")
async def test_stormy(world):
    assert world.faults is STORMY

@pytest.mark.simulated(schedules=1)
async def test_calm(world):
    assert world.faults is CALM
"""
    )

    run(tests).assert_outcomes(passed=2)


@pytest.mark.parametrize("asked", ["3", "250"])
def test_the_number_of_schedules_may_be_asked_for(tests: pytest.Pytester, asked: str) -> None:
    tests.makepyfile(COUNTED + "@pytest.mark.simulated(schedules=7)\nasync def test_one():\n    count()\n")

    run(tests, "--schedules", asked).assert_outcomes(passed=1)

    assert runs(tests) == int(asked)


def test_two_hundred_schedules_unless_told_otherwise(tests: pytest.Pytester) -> None:
    tests.makepyfile(COUNTED + "@pytest.mark.simulated\nasync def test_one():\n    count()\n")

    result = run(tests, "--junitxml=report.xml")

    result.assert_outcomes(passed=1)
    assert runs(tests) == 200
    assert 'name="schedules" value="200"' in (tests.path / "report.xml").read_text()


def test_it_runs_in_several_processes(tests: pytest.Pytester) -> None:
    tests.makepyfile(RACE + COUNTED + "@pytest.mark.simulated(schedules=3)\nasync def test_one():\n    count()\n")

    result = run(tests, "-n", "2", plugins=(*OURS, "-p", "xdist"))

    result.assert_outcomes(passed=1, failed=1)
    assert "--replay" in result.stdout.str()


def test_a_skip_is_a_skip(tests: pytest.Pytester) -> None:
    tests.makepyfile("import pytest\n@pytest.mark.simulated\nasync def test_one():\n    pytest.skip('not today')\n")

    result = run(tests, "-rs")

    result.assert_outcomes(skipped=1)
    assert "not today" in result.stdout.str()


# -- what fails -------------------------------------------------------------------------------------------------------


def replay_of(result: pytest.RunResult) -> list[str]:
    """The command that a failure shows."""
    lines = [line.removeprefix("E").strip() for line in result.outlines]
    (command,) = {line for line in lines if line.startswith("pytest ")}
    return shlex.split(command)[1:]


def test_a_failure_tells_what_happens_and_the_command_that_shows_it_again_does(tests: pytest.Pytester) -> None:
    tests.makepyfile(RACE)

    result = run(tests)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "assert 1 == 2" in text
    assert re.search(r"schedule \d+ \(seed \d+\) fails\.", text)
    assert re.search(r"It has \d+ choices? that asyncio would not have made; ", text)
    assert re.search(r"schedule:\d+=\d+: task-\d+ \(test_a_failure\S*\.py:\d+ in pay\) runs before ", text)
    command = replay_of(result)
    assert len(command) == 3
    assert "-n" not in command

    again = run(tests, *command)

    again.assert_outcomes(failed=1)
    assert "assert 1 == 2" in again.stdout.str()
    assert "See it again" not in again.stdout.str()
    run(tests, command[0], "--replay", "-").assert_outcomes(passed=1)


def test_the_command_is_one_for_where_it_was_started_and_for_parameters(tests: pytest.Pytester) -> None:
    tests.mkdir("inner")
    marks = "@pytest.mark.parametrize('word', ['a b', 'c'])\n@pytest.mark.simulated"
    body = RACE.replace("@pytest.mark.simulated", marks).replace("(world)", "(world, word)")
    (tests.path / "inner" / "test_it.py").write_text(body)
    (tests.path / "elsewhere").mkdir()

    def ran(*options: str) -> str:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *OURS, *options]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        folder = tests.path / "elsewhere"
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout

    shown = next(line for line in ran("../inner/test_it.py", "-k", "a and b").splitlines() if "--replay" in line)
    words = shlex.split(shown.removeprefix("E").strip())[1:]

    assert words[0] == "../inner/test_it.py::test_race[a b]"
    assert "1 failed" in ran(*words)


def test_another_seed_begins_elsewhere(tests: pytest.Pytester) -> None:
    tests.makepyfile(RACE)

    found = re.search(r"schedule (\d+) \(seed (\d+)\) fails", run(tests, "--seed", "1000").stdout.str())

    assert found is not None
    assert int(found[2]) == 1000 + int(found[1]) - 2, "the ordinary order comes first, and has no seed"
    again = run(tests, "--seed", found[2], "--schedules", "2")
    assert f"schedule 2 (seed {found[2]}) fails" in again.stdout.str()


def test_a_trace_that_does_not_fit_is_no_proof(tests: pytest.Pytester) -> None:
    tests.makepyfile(RACE)

    result = run(tests, "--replay", "shedule:2=1")

    result.assert_outcomes(passed=1, warnings=1)
    assert "1 choice of this trace did not come up" in result.stdout.str()


def test_a_fixture_that_asks_for_the_world_is_told_that_there_is_none(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
        import pytest

        @pytest.fixture
        def server(world):
            return world.instance([])

        @pytest.mark.simulated
        async def test_one(server):
            pass
        """
    )

    result = run(tests)

    result.assert_outcomes(errors=1)
    assert (
        "a fixture has no world, and so no world.instance: only the test function is given one" in result.stdout.str()
    )


def test_a_failure_that_nobody_saw_fails_the_test(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
import asyncio, pytest

@pytest.mark.simulated(schedules=2)
async def test_one(world):
    async def background():
        raise LookupError("gone")
    task = asyncio.create_task(background())
    await asyncio.sleep(1)
"""
    )

    result = run(tests)

    result.assert_outcomes(failed=1)
    assert "an exception that nobody saw" in result.stdout.str()
    assert "It fails in the ordinary order of asyncio" in result.stdout.str()


def test_one_that_cannot_be_replayed_shows_no_command(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
import asyncio, itertools, pytest

number = itertools.count()

@pytest.mark.simulated(schedules=20)
async def test_one(world):
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(5)))
    assert next(number) != 7
"""
    )

    result = run(tests)

    result.assert_outcomes(failed=1)
    assert "The same choices do not fail again" in result.stdout.str()
    assert "--replay" not in result.stdout.str()


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_marker_that_says_something_wrong_is_refused(tests: pytest.Pytester) -> None:
    wrong = {
        "(5)": "takes schedules=, order= and faults=, by name",
        "(times=5)": "takes schedules=, order= and faults=, by name",
        "(schedules=0)": "takes a number of schedules, at least 1, not 0",
        "(schedules='5')": "takes a number of schedules, at least 1, not '5'",
        "(schedules=True)": "takes a number of schedules, at least 1, not True",
        "(order='odd')": "knows no order 'odd': choose one of mixed, uniform, pct, sparse, fifo",
        "(faults={'crash': 1})": "takes faults as streaming.testing.Faults, not {'crash': 1}",
    }
    tests.makepyfile(
        **{
            f"test_{number}": f"import pytest\n@pytest.mark.simulated{marker}\nasync def test_one(world):\n    pass\n"
            for number, marker in enumerate(wrong)
        }
    )

    result = run(tests)

    result.assert_outcomes(errors=len(wrong))
    for number, words in enumerate(wrong.values()):
        assert f"test_{number}.py::test_one: @pytest.mark.simulated {words}" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_what_is_no_async_test_is_refused(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        test_plain="import pytest\n@pytest.mark.simulated\ndef test_one(world):\n    pass\n",
        test_old="""
            import pytest, unittest

            class TestOld(unittest.TestCase):
                @pytest.mark.simulated
                def test_one(self):
                    pass
        """,
    )

    result = run(tests, "--continue-on-collection-errors")

    result.assert_outcomes(errors=2)
    assert result.stdout.str().count("@pytest.mark.simulated is for async test functions") == 2


def test_a_world_is_for_marked_tests(tests: pytest.Pytester) -> None:
    tests.makepyfile("def test_one(world):\n    pass\n")

    result = run(tests)

    result.assert_outcomes(errors=1)
    assert "the fixture 'world' is for tests marked with @pytest.mark.simulated" in result.stdout.str()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--replay", "schedule:x"), "--replay: 'x' in 'schedule' is no choice of a trace"),
        (("--replay", ""), "--replay: '' is no part of a trace"),
        (("--schedules", "0"), "--schedules"),
        (("--schedules", "many"), "--schedules"),
        (("--seed", "x"), "--seed"),
    ],
)
def test_an_option_that_says_something_wrong_is_refused_at_once(
    tests: pytest.Pytester, options: tuple[str, ...], words: str
) -> None:
    tests.makepyfile(RACE)

    result = run(tests, *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()


def test_options_that_another_plugin_has_are_called_otherwise(tests: pytest.Pytester) -> None:
    """Who has both must not lose a whole session."""
    tests.makepyfile(
        other="""
def pytest_addoption(parser):
    parser.addoption("--replay", help="of somebody else")
"""
    )
    tests.makepyfile(RACE)

    result = run(tests, plugins=("-p", "other", *OURS))

    result.assert_outcomes(failed=1)
    assert "--streaming-replay" in result.stdout.str()


# -- what it costs those who do not use it ----------------------------------------------------------------------------


def test_the_plugin_imports_nothing_of_the_engine_until_a_test_needs_it() -> None:
    program = (
        "import sys; import streaming.testing.plugin; heavy = ('streaming.', 'pydantic', 'sqlalchemy', 'structlog'); "
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert eval(loaded) == ["streaming.testing", "streaming.testing.plugin"]  # noqa: S307  # a list of names


def test_the_options_and_the_marker_are_told(tests: pytest.Pytester) -> None:
    help_text = run(tests, "--help").stdout.str()
    markers = run(tests, "--markers").stdout.str()

    for option in ("--schedules=N", "--seed=S", "--replay=TRACE"):
        assert option in help_text
    assert "simulated(schedules=200, order='mixed', faults=None)" in markers


def test_a_handler_is_cancelled_at_each_of_its_awaits(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
import asyncio, pytest
from streaming import TaskContext, task

@task
async def good(ctx: TaskContext) -> None:
    await ctx.emit("tick")
    await asyncio.sleep(1)

@task
async def swallows(ctx: TaskContext) -> str:
    for _ in range(3):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass
    return "never mind"

def test_good(cancel_sweep):
    assert cancel_sweep(good).ok

def test_bad(cancel_sweep):
    cancel_sweep(swallows)
"""
    )

    result = run(tests)

    result.assert_outcomes(passed=1, failed=1)
    assert "swallow" in result.stdout.str()


def test_this_package_brings_the_plugin_with_it() -> None:
    declared = (Path(ROOT) / "pyproject.toml").read_text(encoding="utf-8")

    assert '[project.entry-points.pytest11]\nstreaming = "streaming.testing.plugin"' in declared
