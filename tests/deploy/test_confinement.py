"""What a server may do on the machine that it runs on, and who reaches it: ports, users, files, rights."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from streaming.config import Settings
from tests.deploy.files import DEPLOY, document, documents, environment_of, instructions, seconds, unit, variables

PORT: int = Settings.model_fields["port"].default
CONNECTIONS: int = Settings.model_fields["max_connections"].default
STREAMS: int = Settings.model_fields["max_streams"].default
COMPOSE = document(DEPLOY / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVICE_FILE = DEPLOY / "systemd" / "streaming.service"
UNIT = unit(SERVICE_FILE)["Service"]
IMAGE = instructions(DEPLOY / "Dockerfile")
POD = document(DEPLOY / "kubernetes" / "deployment.yaml")["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
SITE = (DEPLOY / "nginx" / "streaming.conf").read_text()


def manifest(name: str) -> Any:
    return document(DEPLOY / "kubernetes" / f"{name}.yaml")


# -- ports -------------------------------------------------------------------------------------------------------------


def test_all_mean_the_same_port() -> None:
    environment = {name: value for each in IMAGE if each.word == "ENV" for name, value in variables(each.text).items()}
    (ingress,) = manifest("networkpolicy")["spec"]["ingress"]
    ports = {
        "image": int(environment["STREAMING_PORT"]),
        "exposed": int(next(each.text for each in IMAGE if each.word == "EXPOSE")),
        "container": CONTAINER["ports"][0]["containerPort"],
        "service": manifest("service")["spec"]["ports"][0]["port"],
        "policy": ingress["ports"][0]["port"],
    }
    for name in ("upstream", "upstream-compose"):
        text = (DEPLOY / "nginx" / f"{name}.conf").read_text()
        ports[name] = int(re.findall(r"^    server \S+:(\d+);", text, re.MULTILINE)[0])

    assert ports == dict.fromkeys(ports, PORT)
    assert CONTAINER["ports"][0]["name"] == manifest("service")["spec"]["ports"][0]["targetPort"] == "http"


def test_only_the_proxy_and_the_dashboards_have_ports_of_the_machine_and_only_for_itself() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"nginx", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_proxy_that_is_trusted_is_nginx_and_no_other() -> None:
    address = SERVICES["nginx"]["networks"]["front"]["ipv4_address"]
    assert environment_of(SERVICES["app"])["STREAMING_TRUSTED_PROXIES"] == address
    subnet = ipaddress.ip_network(COMPOSE["networks"]["front"]["ipam"]["config"][0]["subnet"])
    fixed = [service["networks"]["front"]["ipv4_address"] for service in (SERVICES["nginx"], SERVICES["app"])]
    assert len(set(fixed)) == 2
    assert all(ipaddress.ip_address(each) in subnet for each in fixed)
    assert (DEPLOY / "nginx" / "upstream-compose.conf").read_text().count("server app:") == 1


def test_the_database_has_no_way_out() -> None:
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == ["back"]


def test_labels_of_the_manifests_meet() -> None:
    labels = POD["metadata"]["labels"]
    assert manifest("service")["spec"]["selector"] == labels
    for name in ("deployment", "poddisruptionbudget"):
        assert manifest(name)["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"] == labels
    named = [volume["secret"]["secretName"] for volume in POD["spec"]["volumes"] if "secret" in volume]
    secret = manifest("secret.example")
    assert named == [secret["metadata"]["name"]]
    (mount,) = [each for each in CONTAINER["volumeMounts"] if each["name"] == "secrets"]
    files = {each["value"] for each in CONTAINER["env"] if each["name"].endswith("_FILE")}
    assert files == {f"{mount['mountPath']}/{key}" for key in secret["stringData"]}
    assert {each["name"] for each in CONTAINER["volumeMounts"]} == {each["name"] for each in POD["spec"]["volumes"]}
    resources = manifest("kustomization")["resources"]
    there = {path.name for path in (DEPLOY / "kubernetes").iterdir()} - {
        "kustomization.yaml",
        "secret.example.yaml",
        "upgrade.yaml",
    }
    assert set(resources) == there


def test_an_upgrade_runs_as_the_server_does_and_gets_no_requests() -> None:
    job = manifest("upgrade")["spec"]["template"]
    (container,) = job["spec"]["containers"]
    assert job["metadata"]["labels"] != POD["metadata"]["labels"]
    for name in ("image", "securityContext"):
        assert container[name] == CONTAINER[name]
    assert container["env"] == [each for each in CONTAINER["env"] if each["name"] == "STREAMING_STORE_URL_FILE"]
    assert job["spec"]["volumes"][0] == POD["spec"]["volumes"][0]
    for template in (job, POD):
        assert template["spec"]["enableServiceLinks"] is False, "STREAMING_PORT would be an address of the Service"
        assert template["spec"]["automountServiceAccountToken"] is False
    assert job["spec"]["securityContext"].items() <= POD["spec"]["securityContext"].items()


# -- users and rights --------------------------------------------------------------------------------------------------


def test_nobody_is_root() -> None:
    users = [each.text for each in IMAGE if each.word == "USER"]
    uid, gid = map(int, users[-1].split(":"))
    assert uid > 0
    assert gid > 0
    security = POD["spec"]["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, uid, gid)
    assert security["fsGroup"] == gid
    assert f"--uid {uid}" in " ".join(each.text for each in IMAGE)
    assert "user" not in SERVICES["app"]
    assert f"uid={uid},gid={gid}" in SERVICES["app"]["tmpfs"][1]
    assert UNIT["User"] == ["streaming"]
    assert "root" not in UNIT["User"] + UNIT["Group"]
    assert re.search(rf"^keep api_keys .* {uid}$", (DEPLOY / "secrets.sh").read_text(), re.MULTILINE)


def test_nobody_gets_more_rights() -> None:
    security = CONTAINER["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    app = SERVICES["app"]
    assert (app["read_only"], app["cap_drop"]) == (True, ["ALL"])
    assert app["security_opt"] == ["no-new-privileges:true"]
    assert not any(service.get("privileged") for service in SERVICES.values())
    assert UNIT["NoNewPrivileges"] == ["true"]
    assert UNIT["ProtectSystem"] == ["strict"]
    assert UNIT["StateDirectory"] == ["streaming"]
    assert UNIT["CapabilityBoundingSet"] == [""]


def test_there_are_files_enough_for_all_connections() -> None:
    (limit,) = UNIT["LimitNOFILE"]
    for files in (int(limit), SERVICES["app"]["ulimits"]["nofile"], SERVICES["nginx"]["ulimits"]["nofile"]):
        assert files > 2 * CONNECTIONS + STREAMS


def test_secrets_of_the_unit_are_credentials_of_systemd() -> None:
    loaded = {value.split(":")[0] for value in UNIT["LoadCredential"]}
    named = [line for line in UNIT["Environment"] if "_FILE=" in line]
    assert {line.partition("=%d/")[2] for line in named} == loaded


# -- the image ---------------------------------------------------------------------------------------------------------


def test_the_image_has_two_stages_and_the_last_one_builds_nothing() -> None:
    starts = [number for number, each in enumerate(IMAGE) if each.word == "FROM"]
    assert len(starts) == 2
    last = IMAGE[starts[1] :]
    assert not re.search(
        r"\b(pip|poetry|apt-get|curl|wget)\b", " ".join(each.text for each in last if each.word == "RUN")
    )
    assert all("slim" in IMAGE[number].text for number in starts)
    assert {each.word for each in IMAGE} <= {
        *(
            "ARG",
            "FROM",
            "RUN",
            "ENV",
            "WORKDIR",
            "COPY",
            "VOLUME",
            "USER",
            "EXPOSE",
            "STOPSIGNAL",
            "HEALTHCHECK",
            "CMD",
        )
    }


def test_the_python_of_the_image_is_one_that_is_supported() -> None:
    (version,) = [variables(each.text)["PYTHON"] for each in IMAGE if each.word == "ARG"]
    assert re.fullmatch(r"3\.1[1-4]", version)


# -- nginx -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "directive",
    [
        "proxy_http_version 1.1;",
        'proxy_set_header   Connection "";',
        "proxy_buffering    off;",
        "gzip               off;",
        "proxy_read_timeout 1h;",
        "location /metrics { return 404; }",
    ],
)
def test_the_site_says_what_streams_need(directive: str) -> None:
    assert SITE.count(f"\n        {directive}") + SITE.count(f"\n    {directive}") == 1


def test_the_patience_of_the_proxy_is_longer_than_any_silence() -> None:
    (patience,) = re.findall(r"proxy_read_timeout (\w+);", SITE)
    fields = Settings.model_fields
    assert seconds(patience) > 2 * max(fields["keepalive_s"].default, fields["wait_max_s"].default)


# -- systemd -----------------------------------------------------------------------------------------------------------


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """With a program and a user that are there; everything else is as it stands."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    text = SERVICE_FILE.read_text()
    for pattern, there in (
        (r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}"),
        (r"^(User|Group)=.*", r"\1=root"),
        (r"^Documentation=.*", "Documentation=https://example.com/"),
    ):
        text, count = re.subn(pattern, there, text, flags=re.MULTILINE)
        assert count
    copy = tmp_path / "streaming.service"
    copy.write_text(text)
    done = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "streaming.service" in line]) == (0, [])


def test_documents_are_manifests() -> None:
    for path in (DEPLOY / "kubernetes").iterdir():
        for found in documents(path):
            assert {"apiVersion", "kind"} <= set(found), path
