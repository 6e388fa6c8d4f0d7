"""docs/monitoring.md names every metric with its type and labels, and no other."""

import re
from pathlib import Path

from prometheus_client import Metric

from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.builders.store_rows import analyse, receive
from tests.daemon.web.metrics.exposed import deliver, exposed_node, node_config, report
from tests.tools.paths import ROOT

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (?:([^|]*) )?\| \S", re.MULTILINE)
_OF_BUCKETS = {"le"}

Described = tuple[str, frozenset[str]]


def documented() -> dict[str, Described]:
    """Return type and labels of each metric of the page."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    table = page.split("<!-- metrics -->")[1].split("\n\n## ")[0]
    rows = _ROW.findall(table)
    assert len(rows) == len([line for line in table.splitlines() if line.startswith("| `")])
    return {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def described(family: Metric) -> tuple[str, Described]:
    labels = {label for sample in family.samples for label in sample.labels}
    name = family.name + ("_total" if family.type == "counter" else "")
    return name, (family.type, frozenset(labels - _OF_BUCKETS))


def test_the_page_lists_every_metric_and_no_other(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    receive(store, "1.2.3.1")
    analyse(store, utc_now())
    report(store)
    deliver(store)
    store.workitems.note_answer("ris")
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        families = node.families()
    assert all(family.samples for family in families)
    assert dict(map(described, families)) == documented()


def test_every_metric_has_a_help_text(tmp_path: Path, store: Store, pki: Authority) -> None:
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        assert [one.name for one in node.families() if not one.documentation.strip()] == []


def test_every_kind_of_job_is_explained() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `cxrd_jobs` .*$", page, re.MULTILINE)
    assert [kind for kind in JobKind if f"`{kind}`" not in row] == []
