"""All files of deploy/ together: they can be read, name what exists, and hold no secret."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

import dev
from streaming.config import Settings, load_settings
from streaming.secret_files import NAMES as IN_FILES
from tests.deploy.files import DEPLOY, FILES, document, documents, environment_of, instructions, unit, variables
from tests.serving import ROOT

YAMLS = [path for path in FILES if path.suffix in (".yaml", ".yml")]
COMPOSE = document(DEPLOY / "compose.yaml")
SETTINGS = {f"STREAMING_{name.upper()}" for name in Settings.model_fields}
SECRETS = {f"STREAMING_{name.upper()}" for name in IN_FILES}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_yaml_can_be_read_and_says_something(path: Path) -> None:
    assert all(documents(path))


def test_a_name_that_stands_twice_is_found(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("a: 1\nb: {c: 1, c: 2}\n")
    with pytest.raises(Exception, match="twice: \\['c'\\]"):
        document(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"STREAMING_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8")))

    assert named <= SETTINGS | {f"{name}_FILE" for name in SECRETS}


def settings_of() -> dict[str, dict[str, str]]:
    """What each way to run the server sets."""
    (pod,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    lines = unit(DEPLOY / "systemd" / "streaming.service")["Service"]["Environment"]
    image = {
        name: value
        for each in instructions(DEPLOY / "Dockerfile")
        if each.word == "ENV"
        for name, value in variables(each.text).items()
    }
    found = {
        "image": image,
        "compose": {**image, **environment_of(COMPOSE["services"]["app"])},
        "kubernetes": {**image, **{each["name"]: each["value"] for each in container["env"]}},
        "systemd": dict(line.split("=", 1) for line in lines),
    }
    return {
        way: {name: value for name, value in given.items() if name.startswith("STREAMING_")}
        for way, given in found.items()
    }


@pytest.mark.parametrize("way", settings_of())
def test_what_is_set_is_accepted_and_no_secret_is_a_value(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMING_")]:
        monkeypatch.delenv(name)
    given = settings_of()[way]
    for name, value in given.items():
        if name.endswith("_FILE"):
            here = tmp_path / name
            url = "postgresql+psycopg://streaming:word@postgres/streaming"
            here.write_text(url if "STORE_URL" in name else "0123456789abcdef0123456789abcdef:ops:admin")
            here.chmod(0o400)
            value = str(here)
        monkeypatch.setenv(name, value)
    settings = load_settings()

    assert settings.port == Settings.model_fields["port"].default
    assert way == "image" or settings.credentials, "without credentials the server does not listen on all addresses"
    assert not {name for name in SECRETS & given.keys() if name != "STREAMING_STORE_URL"}
    assert given.get("STREAMING_STORE_URL", "sqlite:///").startswith("sqlite:///"), "it may have a password"


def test_every_image_has_a_version_that_does_not_move() -> None:
    (pod,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    own = pod["spec"]["template"]["spec"]["containers"][0]["image"]
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    images = [service["image"] for service in COMPOSE["services"].values()]
    images += [each.text.split()[0] for each in instructions(DEPLOY / "Dockerfile") if each.word == "FROM"]

    assert version is not None
    assert own == COMPOSE["services"]["app"]["image"] == f"streaming:{version[1]}"
    for image in images:
        image = image.replace("${PYTHON}", "3.13")
        tag = image.partition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), image


def test_every_file_of_compose_is_there() -> None:
    services, secrets = COMPOSE["services"], COMPOSE["secrets"]
    made = set(re.findall(r"^keep (\w+)", (DEPLOY / "secrets.sh").read_text(), re.MULTILINE))
    mounts = [volume.split(":") for service in services.values() for volume in service.get("volumes", [])]
    here = [source for source, *_ in mounts if source.startswith(".")]

    assert {Path(each["file"]).name for each in secrets.values()} == made
    assert {name for service in services.values() for name in service.get("secrets", [])} == set(secrets)
    assert [source for source in here if not (DEPLOY / source).exists()] == []
    assert {source for source, *_ in mounts if not source.startswith(".")} == set(COMPOSE["volumes"])
    assert all(mount[-1] == "ro" for mount in mounts if mount[0].startswith(".")), "nothing of the checkout is written"
    build = services["app"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_secrets_are_made_once_and_the_server_can_use_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(shutil.copy(DEPLOY / "secrets.sh", tmp_path))

    def made() -> dict[str, str]:
        subprocess.run([script], check=True, capture_output=True)
        return {path.name: path.read_text() for path in sorted((tmp_path / "secrets").iterdir())}

    first = made()
    assert made() == first
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
    for name in ("store_url", "api_keys"):
        monkeypatch.setenv(f"STREAMING_{name.upper()}_FILE", str(tmp_path / "secrets" / name))
    settings = load_settings()

    assert first["postgres_password"] in settings.store_url
    assert settings.api_keys is not None
    keys = settings.api_keys.get_secret_value().split(",")
    assert [key.strip().split(":", 1)[1] for key in keys] == ["ops:admin", "prometheus:metrics:read"]
    assert {len(key.strip().partition(":")[0]) for key in keys} == {64}
    assert first["metrics_key"] in keys[1]


def test_no_secret_can_be_sent_to_a_build_or_committed() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    copied = {
        source
        for each in instructions(DEPLOY / "Dockerfile")
        if each.word == "COPY" and not each.text.startswith("--from")
        for source in each.text.split()[:-1]
    }
    assert copied == {rule[1:] for rule in rules if rule.startswith("!")}, "what is let through is what is copied"
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_poetry_is_that_of_dev_py() -> None:
    assert dev.POETRY[0] in (DEPLOY / "Dockerfile").read_text()
