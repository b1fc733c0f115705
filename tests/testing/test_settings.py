"""The settings of a simulated instance are what the test has said, on every machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from streaming.config import Settings
from streaming.testing.exploration import attempt
from streaming.testing.order import Fifo
from streaming.testing.settings import settings_of
from streaming.testing.world import World
from tests.testing.handlers import HANDLERS


def defaults() -> dict[str, object]:
    fields = Settings.model_fields.items()
    return {name: field.get_default(call_default_factory=True) for name, field in fields}


def test_they_are_made_once() -> None:
    assert settings_of(grace_s=3.0) is settings_of(grace_s=3.0)
    assert settings_of(grace_s=3.0, max_running=1) is settings_of(max_running=1, grace_s=3.0)
    assert settings_of().model_dump() == defaults()
    assert isinstance(settings_of(), Settings)


def test_they_are_the_same_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also those that are made for the first time."""
    (tmp_path / ".env").write_text("STREAMING_BULK_MAX=7\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "CANCEL_GRACE_S": "1.5",
        "MAX_RUNNING": "77",
        "TASKS": "some.module",
        "LOG_LEVEL": "no",
    }.items():
        monkeypatch.setenv(f"STREAMING_{name}", value)

    assert settings_of(grace_s=3.25).model_dump() == defaults() | {"grace_s": 3.25}
    assert settings_of(type_limits={"work": 3}).model_dump() == defaults() | {"type_limits": {"work": 3}}


def test_so_are_those_of_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_CANCEL_GRACE_S", "1.5")

    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS, grace_s=3.5) as instance:
            assert instance.coordinator.settings.cancel_grace_s == 5.0
            assert instance.coordinator.settings.grace_s == 3.5

    error = attempt(scenario, 0, Fifo()).error
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("cancel_grace", "do you mean 'cancel_grace_s'?"),
        ("max_runing", "do you mean 'max_running'?"),
        ("STREAMING_GRACE_S", r"docs/settings\.md, without STREAMING_"),
        ("_env_file", r"docs/settings\.md"),
        ("qqq", r"docs/settings\.md"),
    ],
)
@pytest.mark.parametrize("value", [3, {"a": 3}])
def test_one_that_does_not_exist_is_refused_by_its_name(wrong: str, right: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"there is no setting '{wrong}': .*{right}"):
        settings_of(**{wrong: value})


@pytest.mark.parametrize("given", [{"grace_s": "soon"}, {"type_limits": {"work": 0}}])
def test_a_value_that_is_wrong_is_refused_by_the_name_of_its_setting(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        settings_of(**given)
