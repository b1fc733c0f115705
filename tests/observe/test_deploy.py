"""Dashboard, alerts and the page about metrics know the metrics that there are, and no others.

Owns:   reading PromQL far enough to find names of metrics, labels, and values of labels.
Never:  asks a Prometheus: none is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import yaml

from streaming.config import Settings
from streaming.engine.limits import LimitsHit
from streaming.observe.catalogue import METRICS, PROCESS, Described, Kind
from streaming.observe.metrics import SETTINGS
from streaming.records import TaskStatus
from streaming.rules.access import Scope
from streaming.rules.breaker import Circuit
from streaming.rules.drain import Phase
from tests.serving import ROOT
from tests.test_docs import page, rows

DEPLOY = ROOT / "deploy"
KNOWN = {**METRICS, **PROCESS}

#: What Prometheus itself adds to each series, or makes of a scrape.
ITS_LABELS, ITS_METRICS = {"instance", "job"}, {"up"}

#: Words of PromQL; what stands in a "by" or "on" is a label.
WORDS = {
    "by", "on", "and", "or", "unless", "without", "ignoring", "group_left", "group_right", "sum", "min", "max", "rate",
    "increase", "changes", "histogram_quantile", "le",
}  # fmt: skip

#: Values that labels can have; those of others are words that only the running server knows.
POSSIBLE: dict[str, set[str]] = {
    "status": {*map(str, TaskStatus), *(str(int(status)) for status in HTTPStatus)},
    "reason": {"retention", "deleted", "damaged"},
    "state": {*map(str, Circuit)},
    "phase": {*map(str, Phase)},
    "name": set(SETTINGS),
    "limit": set(LimitsHit()),
    "operation": {"read", "write"},
    "outcome": {"requested", "ignored", "stopped", "completed"},
    "job": {"streaming"},
    "by": {"handler", "other"},
}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return dict(json.loads((DEPLOY / "grafana" / "streaming.json").read_text(encoding="utf-8")))


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def asked_by_the_dashboard() -> list[str]:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    queries += [re.sub(r"label_values\((.*), \w+\)", r"\1", each["definition"]) for each in variables()]
    return queries


def variables() -> list[dict[str, Any]]:
    return [each for each in dashboard()["templating"]["list"] if each["type"] == "query"]


def asked() -> list[str]:
    """Every expression there is."""
    return asked_by_the_dashboard() + [alert["expr"] for alert in alerts()]


def metric_of(name: str) -> str:
    """The metric a series belongs to."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in KNOWN and KNOWN[base].kind is Kind.HISTOGRAM else name


def series_in(expr: str) -> dict[str, set[str]]:
    """The metrics of an expression, and the labels that each is selected by."""
    found: dict[str, set[str]] = {}
    bare = re.sub(r"(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", expr)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    for name, selector in re.findall(r"\b([a-z_][a-z0-9_]*)\b(?!\s*\()(?:\{([^}]*)\})?", _outside_of_selectors(bare)):
        if name not in WORDS:
            found.setdefault(metric_of(name), set()).update(re.findall(r"(\w+)\s*[=!]~?", selector))
    return found


def _outside_of_selectors(expr: str) -> str:
    """The same without what stands in quotes."""
    return re.sub(r'"[^"]*"', '""', expr)


def grouped_by(expr: str) -> set[str]:
    return {
        label.strip()
        for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expr)
        for label in group.split(",")
        if label.strip()
    }


@pytest.mark.parametrize("expr", asked())
def test_an_expression_asks_for_metrics_and_labels_that_there_are(expr: str) -> None:
    found = series_in(expr)
    labels: set[str] = set()

    assert found
    for name, selected in found.items():
        if name in ITS_METRICS:
            described = Described(Kind.GAUGE, "")
        else:
            assert name in KNOWN, f"there is no metric {name}"
            described = KNOWN[name]
        possible = {*described.labels, *ITS_LABELS, *({"le"} if described.kind is Kind.HISTOGRAM else ())}
        assert selected <= possible, f"{name} has no label {selected - possible}"
        labels |= possible
    assert grouped_by(expr) <= labels


@pytest.mark.parametrize("expr", asked())
def test_an_expression_asks_for_values_that_there_are(expr: str) -> None:
    for label, _, text in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"$]*)"', expr):
        assert set(text.split("|")) <= POSSIBLE[label]


def test_counters_are_asked_for_their_growth_and_gauges_are_not() -> None:
    for expr in asked():
        grown = re.findall(r"(?:rate|increase)\((\w+)", expr)
        for name in grown:
            assert KNOWN[metric_of(name)].kind is not Kind.GAUGE, expr
        for name in re.findall(r"\b((?:streaming|process)_\w+)", expr):
            assert name in grown or KNOWN[metric_of(name)].kind is Kind.GAUGE, expr


def test_what_is_read_of_an_expression_is_right() -> None:
    """Of the reader that stands here."""
    expr = 'histogram_quantile(0.9, sum by (le, x) (rate(streaming_commit_seconds_bucket{a="b{c}", d!~"e"}[5m]))) > up'

    assert series_in(expr) == {"streaming_commit_seconds": {"a", "d"}, "up": set()}
    assert grouped_by(expr) == {"le", "x"}


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expr in asked_by_the_dashboard() for name in series_in(expr)}

    assert set(KNOWN) - shown == set()


def test_the_dashboard_can_be_loaded() -> None:
    found = dashboard()
    ids = [panel["id"] for panel in found["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found["panels"]]

    assert found["uid"] == "streaming"
    assert len(set(ids)) == len(ids)
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found["panels"])
    assert {each["name"] for each in found["templating"]["list"]} == {"datasource", "instance", "type"}
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert set(re.findall(r"\$(\w+)", json.dumps(panel["targets"]))) <= {"instance", "type", "__rate_interval"}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_it_means_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "meaning", "action"}
    assert all(text.strip() for text in alert["annotations"].values())
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    assert used <= grouped_by(alert["expr"]) | ITS_LABELS
    if "by (" in alert["expr"]:
        assert used <= grouped_by(alert["expr"])


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_names_settings_and_scopes_that_there_are(alert: dict[str, Any]) -> None:
    text = " ".join(alert["annotations"].values())
    known = {f"STREAMING_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"STREAMING_[A-Z_]+", text)) <= known
    assert set(re.findall(r"\b\w+:read\b", text)) <= set(map(str, Scope))


def test_alerts_are_described_and_no_others() -> None:
    described = [cells[0].strip("`") for cells in rows("metrics") if cells[0].startswith("`Streaming")]

    assert sorted(described) == sorted(alert["alert"] for alert in alerts())


@pytest.mark.parametrize("name", KNOWN)
def test_every_metric_is_described_with_its_type_and_labels(name: str) -> None:
    (cells,) = [cells for cells in rows("metrics") if cells[0] == f"`{name}`"]

    assert cells[1] == KNOWN[name].kind.value
    assert tuple(re.findall(r"`(\w+)`", cells[2])) == KNOWN[name].labels
    assert cells[3]


def test_no_other_metric_is_described() -> None:
    named = set(re.findall(r"`((?:streaming|process)_[a-z_]+)`", page("metrics")))

    assert named == set(KNOWN)


def test_prometheus_is_told_where_the_server_is_and_loads_the_alerts() -> None:
    found = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [job for job in found["scrape_configs"] if job["job_name"] == "streaming"]

    assert found["rule_files"] == ["alerts.yml"]
    assert job.get("metrics_path", "/metrics") == "/metrics"
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/metrics_key"}


def test_compose_gives_prometheus_what_it_is_told_to_use() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    found = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (target,) = found["scrape_configs"][0]["static_configs"][0]["targets"]

    assert target.partition(":")[0] in compose["services"]
    assert "metrics_key" in compose["services"]["prometheus"]["secrets"]
