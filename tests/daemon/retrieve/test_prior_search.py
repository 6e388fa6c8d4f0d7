"""Earlier studies of a patient are found at an archive and fetched, before a report names them."""

from pathlib import Path
from typing import Any

import pytest

from storage.records import JobKind, JobState, Priority, RetrievalPurpose, StudyKey
from storage.store import Store
from tests.builders.images.films import ROOT, chest_film, file_bytes
from tests.builders.store_rows import LEASE, new_instance
from tests.servers.archives.backfilled import fetching_node
from tests.servers.archives.dcmqrscp import fill, running_dcmqrscp
from tests.tools.ports import free_port

pytestmark = pytest.mark.network

CURRENT = StudyKey("archive", f"{ROOT}.9")
SEARCH = f"priors of {CURRENT.study_instance_uid}"


def archived(study: int, date: str, **attributes: Any) -> bytes:
    return file_bytes(chest_film(study=study, StudyDate=date, **{"PatientID": "P-1", **attributes}))


def receive(store: Store, **changes: Any) -> None:
    """Record a film of the study that is to be reported."""
    film = {
        "source": "archive",
        "study_instance_uid": CURRENT.study_instance_uid,
        "patient_id": "P-1",
        "study_date": "20240601",
        "issuer_of_patient_id": "",
        **changes,
    }
    store.record_instance(new_instance(f"{ROOT}.9.1.1", **film), quiet_seconds=0)


def begin(store: Store) -> None:
    receive(store)
    assert store.prior_searches.goes_on(CURRENT, "archive")


def test_earlier_studies_of_the_patient_are_fetched(tmp_path: Path) -> None:
    port = free_port()
    with running_dcmqrscp(tmp_path / "archive", port) as archive:
        films = [
            archived(1, "20230101"),
            archived(2, "20240531"),
            archived(3, "20240601"),
            archived(4, "20250101"),
            archived(5, "20230101", PatientID="P-11"),
        ]
        fill(archive, films)
        with fetching_node(archive, port, tmp_path, begin, retrieve="move") as node:
            node.wait_for(JobState.DONE)
            assert node.states().keys() == {SEARCH, f"{ROOT}.1", f"{ROOT}.2"}
            assert len(node.kept(f"{ROOT}.1")) == len(node.kept(f"{ROOT}.2")) == 1
            analyses = node.store.jobs.list(kind=JobKind.ANALYSE)
            assert {job.priority for job in analyses} == {Priority.ROUTINE}
            # The report waits until those on the earlier studies are done.
            assert node.store.prior_searches.goes_on(CURRENT, "archive")
            for study in (1, 2):
                earlier = StudyKey("archive", f"{ROOT}.{study}")
                assert not node.store.prior_searches.goes_on(earlier, "archive")
                end_report(node.store, earlier)
            assert not node.store.prior_searches.goes_on(CURRENT, "archive")
            asked = [row for row in node.store.audit.rows() if row.kind == "archive_queried"]
            assert len(asked) == 1


def end_report(store: Store, key: StudyKey) -> None:
    [job] = (job for job in store.jobs.list(kind=JobKind.REPORT) if job.subject == key.subject)
    store.jobs.discard(job.id)


def test_a_search_is_made_once(store: Store) -> None:
    begin(store)
    [job] = store.jobs.list(kind=JobKind.RETRIEVE)
    assert (job.subject, job.lane) == (f"{SEARCH}@archive", "archive")
    assert store.prior_searches.goes_on(CURRENT, "archive")
    claimed = store.jobs.claim([JobKind.RETRIEVE], "me", LEASE, lane="archive")
    assert claimed is not None
    assert store.prior_searches.goes_on(CURRENT, "archive")
    store.jobs.finish(claimed)
    assert not store.prior_searches.goes_on(CURRENT, "archive")
    assert len(store.jobs.list(kind=JobKind.RETRIEVE)) == 1


def test_a_parked_search_holds_no_report(store: Store) -> None:
    begin(store)
    claimed = store.jobs.claim([JobKind.RETRIEVE], "me", LEASE, lane="archive")
    assert claimed is not None
    store.jobs.fail(claimed, "refused", None)
    assert not store.prior_searches.goes_on(CURRENT, "archive")


def test_the_audit_trail_names_the_study_of_a_search(store: Store) -> None:
    begin(store)
    claimed = store.jobs.claim([JobKind.RETRIEVE], "me", LEASE, lane="archive")
    assert claimed is not None
    store.jobs.fail(claimed, "refused", None)
    parked = list(store.audit.rows())[-1]
    assert parked.subject == f"job={claimed.id} study={CURRENT.study_instance_uid}"


@pytest.mark.parametrize("purpose", [RetrievalPurpose.BACKFILL, RetrievalPurpose.PRIOR])
def test_a_study_that_was_fetched_searches_for_no_other(
    store: Store, purpose: RetrievalPurpose
) -> None:
    store.retrievals.order("archive", [CURRENT.study_instance_uid], purpose, "ines")
    receive(store)
    assert not store.prior_searches.goes_on(CURRENT, "archive")


@pytest.mark.parametrize(
    "changes",
    [{"patient_id": ""}, {"patient_id": "UNKNOWN"}, {"study_date": ""}, {"patient_id": "P*"}],
)
def test_a_film_without_patient_or_date_has_no_search(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    def prepare(store: Store) -> None:
        receive(store, **changes)
        store.prior_searches.goes_on(CURRENT, "archive")

    with (
        running_dcmqrscp(tmp_path / "archive") as archive,
        fetching_node(archive, free_port(), tmp_path, prepare, retrieve="move") as node,
    ):
        node.wait_for(JobState.DONE)
        assert node.states().keys() == {SEARCH}
        assert not [row for row in node.store.audit.rows() if row.kind == "archive_queried"]
