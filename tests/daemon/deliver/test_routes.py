"""Deliveries that the routing table does not allow are parked, and no command sends them."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from daemon.commitment.answers import RESEND_FOR
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from daemon.deliver.routes import park_refused, refusal
from dicom_io.commitment.messages import FailureReason
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.outbox import Outbox, queue_report
from tests.builders.outbox_rows import queue_delivery
from tests.builders.store_rows import LEASE
from tests.builders.stores.new import new_store
from tests.servers.dicom.pacs import RecordingPacs
from tests.tools.cli import cxrd
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network


def hospital(name: str, **keys: object) -> PeerConfig:
    return PeerConfig.model_validate(
        {
            "name": name,
            "ae_title": name.upper(),
            "host": "127.0.0.1",
            "port": 104,
            "sends": True,
            "receives": [Product.REPORT],
            **keys,
        }
    )


TWO = Config(peers=(hospital("north"), hospital("south")))


def parked(store: Store) -> dict[str, str]:
    """Return the reasons of the parked deliveries by subject."""
    jobs = store.jobs.list(state=JobState.PARKED, kind=JobKind.DELIVER)
    return {job.subject: job.last_error or "" for job in jobs}


def test_each_refusal_names_the_way_out() -> None:
    routing = TWO.routing
    assert refusal(routing, "north", "north") is None
    other = refusal(routing, "north", "south") or ""
    assert "results of north may not go to south" in other
    assert "allow them with results_of of south, restart and retry the job, or discard it" in other
    assert "have the study sent again" in (refusal(routing, "", "north") or "")
    assert "no peer that sends has the source gone any more" in (
        refusal(routing, "gone", "north") or ""
    )


def test_the_courier_parks_at_its_start(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    queue_delivery(store, "9.1", "north", "north", "south")
    queue_delivery(store, "9.2", "", "north")
    queue_delivery(store, "9.3", "gone", "south", "removed")
    with caplog.at_level(logging.ERROR):
        park_refused(TWO, store)
    reasons = parked(store)
    assert reasons.keys() == {"9.1@south", "9.2@north", "9.3@south"}
    assert reasons["9.1@south"] == refusal(TWO.routing, "north", "south")
    assert "south: 1 delivery(ies) are parked: results of north may not go" in caplog.text
    queued = {job.subject for job in store.jobs.list(state=JobState.QUEUED)}
    assert {"9.1@north", "9.3@removed"} <= queued


def test_a_delivery_that_comes_back_is_parked_and_not_sent(
    outbox: Outbox, pacs: RecordingPacs
) -> None:
    allowed = queue_report(outbox.store, outbox.spool, "pacs", 1)
    refused = queue_report(outbox.store, outbox.spool, "pacs", 2, source="elsewhere")
    outbox.deliver_to("pacs", pacs.port)
    wait_until(lambda: bool(parked(outbox.store)), "the refused one is parked")
    wait_until(lambda: pacs.counts[allowed] == 1, "the allowed one has arrived")
    (job,) = outbox.jobs(JobState.PARKED)
    assert job.subject == f"{refused}@pacs"
    outbox.store.jobs.retry(job.id)
    wait_until(lambda: f"{refused}@pacs" in parked(outbox.store), "it is parked again")
    assert pacs.counts == {allowed: 1}


def test_an_object_to_be_sent_again_is_not_sent_to_a_peer_that_may_not_have_it_now(
    outbox: Outbox, pacs: RecordingPacs
) -> None:
    """The destination lost an object that it got under an earlier configuration."""
    uid = queue_report(outbox.store, outbox.spool, "pacs", source="elsewhere")
    job = outbox.store.jobs.claim([JobKind.DELIVER], "courier", LEASE)
    assert job is not None
    outbox.store.results.record_delivery(job, 0x0000, commit_after=timedelta(0))
    commit = outbox.store.jobs.claim([JobKind.COMMIT], "courier", LEASE)
    assert commit is not None
    outbox.store.commitments.next_step(commit, "2.25.1")
    outbox.store.commitments.record_sent("2.25.1", datetime.now(UTC))
    outcome = outbox.store.commitments.record_answer(
        ["pacs"],
        "2.25.1",
        [],
        {uid: FailureReason.NO_SUCH_INSTANCE},
        resend_for=RESEND_FOR,
        max_resends=1,
        resend_wait=lambda _: timedelta(0),
    )
    assert outcome is not None
    assert outcome.sent_again == 1
    outbox.deliver_to("pacs", pacs.port)
    wait_until(lambda: f"{uid}@pacs" in parked(outbox.store), "the delivery is parked")
    assert not pacs.counts


def test_retry_does_not_override_the_table(tmp_path: Path) -> None:
    values = [peer.model_dump(mode="json") for peer in TWO.peers]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"peers": values}), encoding="utf-8")
    with new_store(tmp_path / "data" / "cxrd.sqlite") as store:
        spool = FolderSpool(tmp_path / "data" / "spool")
        for number, source in enumerate(("north", "south")):
            queue_report(store, spool, "south", number, source=source)
        for _ in range(2):
            claimed = store.jobs.claim([JobKind.DELIVER], "courier", LEASE)
            assert claimed is not None
            store.jobs.fail(claimed, "status 0xA900: not wanted", None)

        done = cxrd("jobs", "retry", "--all-parked", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stdout == "1 job(s) queued again\n"
        (job,) = store.jobs.list(state=JobState.PARKED)
        assert f"job {job.id} stays as it is: results of north may not go to south" in done.stderr

        values[1]["results_of"] = "all"
        config.write_text(yaml.safe_dump({"peers": values}), encoding="utf-8")
        done = cxrd("jobs", "retry", job.id, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "1 job(s) queued again\n")
        assert store.jobs.get(job.id).state is JobState.QUEUED
