"""The files for Prometheus and Grafana: accepted by promtool, and true to the metrics."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.daemon.web.metrics.exposed import exposed_node, node_config
from tests.daemon.web.metrics.test_monitoring_page import documented
from tests.tools.installed import require_tool
from tests.tools.paths import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "cxrd.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "cxrd.json"

OF_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""
OF_ALERTS = {"alertname", "alertstate"}
NOT_OURS = {"up": set[str](), "ALERTS": OF_ALERTS}
_SELECTOR = re.compile(r"\b([A-Za-z_:]\w*)\s*(\{[^}]*\})")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_NAME = re.compile(r"\b(cxrd_\w+|up|ALERTS)\b")
_QUOTED = re.compile(r'"[^"]*"')


def promtool(*arguments: str | Path, given: str | None = None) -> None:
    """Run promtool; fail with what it says."""
    done = subprocess.run(
        [require_tool("promtool"), *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return board


def expressions() -> list[tuple[str, str]]:
    """Return the title and the expression of each query of the dashboard."""
    board = dashboard()
    found = [
        (panel["title"], target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    notes = [(note["name"], note["expr"]) for note in board["annotations"]["list"]]
    return [(title, _without_variables(text)) for title, text in (*found, *notes)]


def _without_variables(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$instance", "a")


def samples() -> dict[str, set[str]]:
    """Return the labels of each sample that a node can give, by its name."""
    found = {}
    for name, (kind, labels) in documented().items():
        if kind == "histogram":
            found[f"{name}_bucket"] = {*labels, "le"}
            found[f"{name}_sum"] = found[f"{name}_count"] = set(labels)
        else:
            found[name] = set(labels)
    return found


def unknown(expression: str, known: dict[str, set[str]]) -> Iterator[str]:
    """Yield metrics and labels of an expression that no node has."""
    bare = _QUOTED.sub('""', expression)
    names = set(_NAME.findall(bare))
    yield from names - known.keys()
    usable = OF_PROMETHEUS.union(*(known.get(name, set()) for name in names))
    for name, matchers in _SELECTOR.findall(bare):
        yield from set(_MATCHER.findall(matchers)) - known.get(name, set()) - OF_PROMETHEUS
    for labels in _GROUPING.findall(bare):
        yield from set(re.findall(r"\w+", labels)) - usable


def faults(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    known = samples() | NOT_OURS
    by_place = {place: sorted(unknown(expression, known)) for place, expression in found}
    return {place: names for place, names in by_place.items() if names}


def test_promtool_accepts_the_metrics(tmp_path: Path, store: Store, pki: Authority) -> None:
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        promtool("check", "metrics", given=node.text())


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", RULES)


@pytest.mark.slow
def test_the_alerts_are_raised_by_faults_and_by_nothing_else() -> None:
    promtool("test", "rules", PROMETHEUS / "cxrd.rules.test.yml")


def test_promtool_accepts_the_example_of_a_configuration() -> None:
    promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")


def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """As rules: promtool parses no query alone."""
    queries = [
        {"record": f"query:{number}", "expr": expression}
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": queries}]}))
    promtool("check", "rules", path)


def test_rules_and_dashboard_name_only_what_exists() -> None:
    assert faults((rule["alert"], rule["expr"]) for rule in rules()) == {}
    assert faults(expressions()) == {}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("sum by (sender) (rate(cxrd_films_received_total[5m]))", []),
        ("cxrd_films_received", ["cxrd_films_received"]),
        ('cxrd_jobs{lane="pacs"}', ["lane"]),
        ("sum by (reason) (cxrd_jobs)", ["reason"]),
        ('cxrd_jobs{kind="cxrd_lost"}', []),
        ("rate(cxrd_film_analysis_seconds[5m])", ["cxrd_film_analysis_seconds"]),
    ],
)
def test_a_name_that_does_not_exist_is_found(expression: str, found: list[str]) -> None:
    assert sorted(unknown(expression, samples() | NOT_OURS)) == found


def test_legends_of_the_dashboard_name_labels_of_their_query() -> None:
    wrong = {
        panel["title"]: label
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        if label not in ",".join(_GROUPING.findall(target["expr"]))
    }
    assert wrong == {}


def test_the_dashboard_takes_its_data_source_from_a_variable() -> None:
    board = dashboard()
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert set(re.findall(r'"uid": "(\$\{\w+\})"', DASHBOARD.read_text())) == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]


def test_every_alert_says_what_to_do_and_where_to_read_on() -> None:
    for rule in rules():
        annotations = rule["annotations"]
        assert set(annotations) == {"summary", "description", "runbook"}, rule["alert"]
        page, _, anchor = annotations["runbook"].partition("#")
        assert anchor in anchors(ROOT / page), rule["alert"]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as web sites of repositories make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_is_tested_and_documented() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    tested = (PROMETHEUS / "cxrd.rules.test.yml").read_text(encoding="utf-8")
    assert [name for name in names if tested.count(f'alertname="{name}"') == 0] == []
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(Cxrd\w+)` \|", page, re.MULTILINE)) == sorted(names)
