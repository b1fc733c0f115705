"""How a server is ended, whoever runs it: with the right signal, alone, and with more time than it needs."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.config import Settings
from tests.deploy.files import DEPLOY, document, environment_of, instructions, seconds, unit

GRACE_S: float = Settings.model_fields["grace_s"].default
COMPOSE = document(DEPLOY / "compose.yaml")
APP = COMPOSE["services"]["app"]
UNIT = unit(DEPLOY / "systemd" / "streaming.service")["Service"]
POD = document(DEPLOY / "kubernetes" / "deployment.yaml")["spec"]
CONTAINER = POD["template"]["spec"]["containers"][0]

#: What is left for the kernel and the supervisor between the end of the grace and the kill.
MARGIN_S = 5


def grace_of(given: dict[str, str]) -> float:
    return float(given.get("STREAMING_GRACE_S", GRACE_S))


def test_systemd_sends_the_signal_to_the_server_alone_and_waits_longer_than_the_grace() -> None:
    assert UNIT["KillSignal"] == ["SIGTERM"]
    assert UNIT["KillMode"] == ["mixed"]
    given = dict(line.split("=", 1) for line in UNIT["Environment"])
    (stop,) = UNIT["TimeoutStopSec"]
    assert seconds(stop) >= grace_of(given) + MARGIN_S


def test_docker_sends_it_to_the_server_itself() -> None:
    found = {each.word: each for each in instructions(DEPLOY / "Dockerfile")}
    assert found["STOPSIGNAL"].text == "SIGTERM"
    assert found["CMD"].words == ["streaming", "serve"]
    assert "ENTRYPOINT" not in found
    assert "stop_signal" not in APP


def test_compose_waits_longer_than_the_grace_and_its_proxy_longer_than_the_server() -> None:
    stop = seconds(APP["stop_grace_period"])
    assert stop >= grace_of(environment_of(APP)) + MARGIN_S
    assert seconds(COMPOSE["services"]["nginx"]["stop_grace_period"]) > stop
    for name, service in COMPOSE["services"].items():
        assert "stop_grace_period" in service, name
        assert "healthcheck" in service or name == "app", "app has that of its image"


def test_kubernetes_waits_longer_than_the_way_out_of_the_service_and_the_grace() -> None:
    command = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    given = {each["name"]: each["value"] for each in CONTAINER["env"]}
    assert command[0] == "sleep"
    needed = float(command[1]) + grace_of(given) + MARGIN_S
    assert POD["template"]["spec"]["terminationGracePeriodSeconds"] >= needed


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
)
def test_a_probe_asks_what_it_is_for(probe: str, path: str) -> None:
    assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "http"}


def test_readiness_goes_before_the_pod_has_left_the_service() -> None:
    probe = CONTAINER["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] <= 5


def test_one_server_has_the_database() -> None:
    assert POD["replicas"] == 1
    assert POD["strategy"] == {"type": "Recreate"}
    budget = document(DEPLOY / "kubernetes" / "poddisruptionbudget.yaml")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget, "with one replica no node could ever be emptied"
    assert "deploy" not in APP
    assert "scale" not in APP


def test_the_health_check_of_the_image_needs_no_other_program() -> None:
    (check,) = [each for each in instructions(DEPLOY / "Dockerfile") if each.word == "HEALTHCHECK"]
    words = check.words
    assert words[:2] == ["python", "-c"]
    assert "/healthz" in words[2]
    compile(words[2], "HEALTHCHECK", "exec")
    options: dict[str, Any] = dict(word.removeprefix("--").split("=") for word in check.text.split(" CMD ")[0].split())
    assert seconds(options["timeout"]) > 4, "more than the request in it may take"
