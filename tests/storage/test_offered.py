"""The films and results on offer: by source, and without those that no longer count."""

from dataclasses import replace

import pytest

from storage.offered.records import StudyMatch
from storage.records import JobKind, ObjectKind, Rejection
from storage.store import Store
from tests.builders.store_rows import analysis, claim, made_object, new_instance
from tests.tools.clock import Clock

ALL = ("north", "south")


def receive(store: Store, uid: str, content: str = "pixels", **changes: str) -> int:
    """Record a film of the north, unless `source` names another source."""
    values = {"source": "north", "study_instance_uid": f"{uid}.1", **changes}
    return store.record_instance(new_instance(uid, content, **values), 0).instance_id


def found(store: Store, match: StudyMatch, *sources: str) -> list[str]:
    studies = store.offered.studies(sources or ALL, match, offset=0, limit=10)
    return [study.study_instance_uid for study in studies]


def offered(store: Store, study: str, *sources: str) -> list[str]:
    return [one.sop_instance_uid for one in store.offered.instances(sources or ALL, [study])]


@pytest.mark.parametrize(
    ("match", "uids"),
    [
        (StudyMatch(), ["1.1", "2.1", "3.1"]),
        (StudyMatch(study_instance_uids=("2.1", "3.1", "9")), ["2.1", "3.1"]),
        (StudyMatch(patient_id="p_1"), ["1.1"]),
        (StudyMatch(patient_id="P_1"), ["2.1"]),
        (StudyMatch(patient_id="?_1"), ["1.1", "2.1"]),
        (StudyMatch(patient_id="P*"), ["2.1", "3.1"]),
        (StudyMatch(patient_id="P.1"), []),
        (StudyMatch(patient_id="P(1"), ["3.1"]),
        (StudyMatch(patient_id="P(*"), ["3.1"]),
        (StudyMatch(patient_id="*?*?1"), ["1.1", "2.1", "3.1"]),
        (StudyMatch(patient_id="???"), ["1.1", "2.1", "3.1"]),
        (StudyMatch(patient_id="??"), []),
        (StudyMatch(patient_name="doe^*"), ["1.1", "2.1"]),
        (StudyMatch(patient_name="röe"), ["3.1"]),
        (StudyMatch(patient_name="RÖE"), ["3.1"]),
        (StudyMatch(accession_number="A-2"), ["2.1"]),
        (StudyMatch(first_date="20240102"), ["2.1", "3.1"]),
        (StudyMatch(last_date="20240102"), ["1.1", "2.1"]),
        (StudyMatch(first_date="20240102", last_date="20240102"), ["2.1"]),
        (StudyMatch(modalities=("CR", "US")), ["3.1"]),
        (StudyMatch(modalities=("SR",)), []),
    ],
)
def test_studies_are_found_by_each_condition(
    store: Store, match: StudyMatch, uids: list[str]
) -> None:
    for number, patient, name, modality in (
        (1, "p_1", "DOE^JANE", "DX"),
        (2, "P_1", "Doe^John", "DX"),
        (3, "P(1", "RÖE", "CR"),
    ):
        receive(
            store,
            str(number),
            patient_id=patient,
            patient_name=name,
            modality=modality,
            accession_number=f"A-{number}",
            study_date=f"2024010{number}",
        )
    assert found(store, match) == uids


def test_a_source_is_asked_for_alone(store: Store) -> None:
    for source in ALL:
        receive(store, "1", source=source, patient_id=source)
    receive(store, "2", source="south")
    assert found(store, StudyMatch(), "north") == ["1.1"]
    assert [one.source for one in store.offered.instances(["north"], ["1.1", "2.1"])] == ["north"]
    assert found(store, StudyMatch(patient_id="south"), "north") == []
    assert store.offered.instances(["north"], ["2.1"]) == ()
    assert store.offered.instances([], ["1.1"]) == ()


def test_a_page_follows_the_order_of_reception(store: Store) -> None:
    for number in range(5):
        receive(store, str(number))
    pages = [store.offered.studies(ALL, StudyMatch(), offset=at, limit=2) for at in (0, 2, 4)]
    assert [[one.study_instance_uid for one in page] for page in pages] == [
        ["0.1", "1.1"],
        ["2.1", "3.1"],
        ["4.1"],
    ]


def test_a_later_revision_takes_the_place_of_a_film_and_of_its_pictures(
    store: Store, clock: Clock
) -> None:
    number = receive(store, "1")
    picture = replace(
        made_object("2.25.1", ObjectKind.HEATMAP, number), study_instance_uid="1.1", source="north"
    )
    job = claim(store, JobKind.ANALYSE)
    store.results.record_analysis(job, number, analysis(clock(), objects=[picture]))
    assert offered(store, "1.1") == ["1", "2.25.1"]
    (study,) = store.offered.studies(ALL, StudyMatch(), offset=0, limit=1)
    assert (study.modalities, study.instances) == (("DX", "OT"), 2)
    receive(store, "1", "other pixels", study_instance_uid="9.1")
    assert offered(store, "1.1") == []
    assert found(store, StudyMatch()) == ["9.1"]


def test_a_rejected_film_is_offered_no_more(store: Store) -> None:
    receive(store, "1")
    note = receive(store, "2", study_instance_uid="1.1", modality="KO")
    for _ in range(2):
        job = claim(store, JobKind.ANALYSE)
        if int(job.subject) == note:
            rejection = Rejection("113001", ("1",))
            store.results.record_rejection(job, note, "REJECTION_NOTE", "withdrawn", rejection)
    assert offered(store, "1.1") == ["2"]
