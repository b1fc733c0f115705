"""Between server, Prometheus and Grafana in compose.yaml: addresses, files, and keys that open what they must."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from streaming.config import Settings
from tests.deploy.files import DEPLOY, document
from tests.process.server import FORKED, running

SERVICES = document(DEPLOY / "compose.yaml")["services"]
PROMETHEUS = document(DEPLOY / "prometheus" / "prometheus.yml")


def mounts(service: str) -> dict[str, str]:
    """Where the files of the checkout are in a container."""
    pairs = [volume.split(":")[:2] for volume in SERVICES[service]["volumes"]]
    return {target: source for source, target in pairs if source.startswith(".")}


def test_prometheus_asks_the_server_with_the_key_that_was_made_for_it() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"app:{Settings.model_fields['port'].default}"]}]
    secret = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert secret in SERVICES["prometheus"]["secrets"]
    assert SERVICES["prometheus"]["networks"][0] in SERVICES["app"]["networks"]


def test_prometheus_finds_its_configuration_and_the_alerts() -> None:
    there = mounts("prometheus")
    (option,) = [word for word in SERVICES["prometheus"]["command"] if word.startswith("--config.file=")]
    place = Path(option.partition("=")[2])
    assert there[str(place)] == "./prometheus/prometheus.yml"
    assert [there[str(place.parent / name)] for name in PROMETHEUS["rule_files"]] == ["./prometheus/alerts.yml"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = document(provisioning / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = document(provisioning / "dashboards" / "streaming.yml")["providers"]
    there = mounts("grafana")

    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"] is True
    assert there["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert there[f"{provider['options']['path']}/streaming.json"] == "./grafana/streaming.json"
    assert set(SERVICES["grafana"]["networks"]) & set(SERVICES["prometheus"]["networks"])


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Those that ``deploy/secrets.sh`` makes."""
    subprocess.run([shutil.copy(DEPLOY / "secrets.sh", tmp_path)], check=True, capture_output=True)
    return tmp_path / "secrets"


@pytest.mark.process
async def test_the_keys_that_are_made_open_what_they_are_for(secrets: Path, tmp_path: Path) -> None:
    admin = (secrets / "api_keys").read_text().partition(":")[0]
    metrics = (secrets / "metrics_key").read_text()
    async with running(tmp_path, FORKED, api_keys_file=secrets / "api_keys") as server:

        async def status(path: str, key: str | None) -> int:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            return (await server.http.get(path, headers=headers)).status_code

        assert [await status("/metrics", key) for key in (metrics, admin, None)] == [200, 200, 401]
        assert [await status("/tasks", key) for key in (metrics, admin, None)] == [403, 200, 401]
        await server.stop()
