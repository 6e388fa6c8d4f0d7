"""The answer to a scrape: its form, its values, and no patient in it."""

from pathlib import Path

import pytest
from prometheus_client import Metric

from storage.audit.records import AuditKind
from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.builders.store_rows import analyse, claim, new_instance, receive
from tests.daemon.web.metrics.exposed import (
    OPENMETRICS,
    Exposed,
    deliver,
    exposed_node,
    node_config,
    report,
    value,
)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory, pki: Authority) -> list[Metric]:
    """Metrics of a node with a delivered and a parked report."""
    folder = tmp_path_factory.mktemp("node")
    with Store.open(f"sqlite:///{folder / 'cxrd.sqlite'}", migrate=True) as store:
        return _metrics_of_some_work(folder, store, pki)


def _metrics_of_some_work(folder: Path, store: Store, pki: Authority) -> list[Metric]:
    receive(store, "1.2.3.1")
    analyse(store, utc_now())
    report(store)
    deliver(store)
    receive(store, "1.2.3.2")
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "")
    report(store, "2.25.2")
    store.jobs.fail(claim(store, JobKind.DELIVER), "status 0xA900", None)
    with exposed_node(node_config(folder, pki), store, utc_now) as node:
        return node.families()


def test_films_findings_and_reasons_are_counted(families: list[Metric]) -> None:
    assert value(families, "cxrd_films_received_total", sender="MODALITY", outcome="new") == 2
    assert value(families, "cxrd_films_received_total", sender="MODALITY", outcome="revision") == 0
    assert value(families, "cxrd_films_analysed_total") == 1
    assert value(families, "cxrd_findings_present_total", finding="Mass") == 1
    assert value(families, "cxrd_findings_present_total", finding="Edema") == 0
    assert value(families, "cxrd_films_not_analysed_total", reason="LATERAL_VIEW") == 1
    assert value(families, "cxrd_film_analysis_seconds_count") == 1
    assert value(families, "cxrd_film_analysis_seconds_bucket", le="+Inf") == 1


def test_work_of_a_destination_is_counted(families: list[Metric]) -> None:
    of = {"destination": "pacs", "kind": "deliver"}
    assert value(families, "cxrd_destination_jobs", **of, state="done") == 1
    assert value(families, "cxrd_destination_jobs", **of, state="parked") == 1
    assert value(families, "cxrd_destination_jobs", **of, state="queued") == 0
    assert value(families, "cxrd_objects_delivered_total", destination="pacs", status="0x0000") == 1
    assert value(families, "cxrd_report_delivery_seconds_count", destination="pacs") == 1
    assert value(families, "cxrd_job_parkings_total", kind="deliver") == 1
    assert value(families, "cxrd_destination_ok", destination="pacs") == 0


def test_software_and_model_are_named(families: list[Metric]) -> None:
    (build,) = [
        one for family in families for one in family.samples if one.name == "cxrd_build_info"
    ]
    assert set(build.labels) == {"version", "python", "schema"}
    assert all(build.labels.values())
    model = {"host": "node", "name": "starter", "version": "1", "sha256": "ab" * 32}
    assert value(families, "cxrd_model_info", **model, engine="onnx on cpu") == 1


def test_rows_that_syslog_has_not_received_are_counted(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    receive(store, "1.2.3.1", "1.2.3.2")
    reader = "syslog udp 127.0.0.1:6514"
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        assert value(node.families(), "cxrd_syslog_backlog_rows") == 2
        store.audit.record(AuditKind.BACKED_UP)
        assert store.audit_readers.hold(reader, "me", utc_now() - utc_now()) == 0
        store.audit_readers.advance(reader, "me", 2)
        assert value(node.families(), "cxrd_syslog_backlog_rows") == 1


def test_openmetrics_is_given_to_a_caller_that_asks_for_it(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    receive(store, "1.2.3.1")
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        plain, strict = node.families(), node.open_families()
        assert node.text(OPENMETRICS).endswith("# EOF\n")
        assert "# EOF" not in node.text("text/html")
    assert {family.name for family in strict} >= {
        family.name for family in plain if family.type != "gauge"
    }
    sent = {"sender": "MODALITY", "outcome": "new"}
    assert value(strict, "cxrd_films_received_total", **sent) == 1


def test_no_metric_names_a_patient_a_study_or_an_object(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    film = new_instance(
        "1.2.3.1", patient_id="PAT4711", accession_number="ACC4712", patient_name="DOE^JANE"
    )
    store.record_instance(film, 0)
    analyse(store, utc_now())
    report(store)
    store.jobs.fail(claim(store, JobKind.DELIVER), "status 0xA900: DOE^JANE of 1.2.3.1", None)
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        text = node.text()
    assert [one for one in ("PAT4711", "ACC4712", "DOE", "1.2.3", "2.25") if one in text] == []


def test_a_sender_that_is_no_longer_configured_keeps_its_count(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    store.record_instance(new_instance("1.2.3.1", calling_ae_title="OLD_CR"), 0)
    with exposed_node(node_config(tmp_path, pki), store, utc_now) as node:
        sent = {"sender": "OLD_CR", "outcome": "new"}
        assert value(node.families(), "cxrd_films_received_total", **sent) == 1


def test_drift_is_told_after_the_first_count(tmp_path: Path, store: Store, pki: Authority) -> None:
    node = Exposed(node_config(tmp_path, pki), store, utc_now)
    assert value(node.families(), "cxrd_drift_alarms", finding="Mass") is None
    node.counter.refresh()
    assert value(node.families(), "cxrd_drift_alarms", finding="Mass") == 0
    assert value(node.families(), "cxrd_drift_watched") == 0
