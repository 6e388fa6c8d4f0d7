"""Splits keep patients together and labels balanced."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_model.data.chestxray14 import Part, Record
from cxr_model.data.split import Split, patient_split
from cxr_model.errors import DataError, PatientOverlapError


def record(patient: int, film: int = 0, positive: int | None = None) -> Record:
    labels = tuple(float(i == positive) for i in range(14))
    name = f"{patient}_{film}.png"
    return Record(Path(name), name, str(patient), labels)


def patients_of(records: tuple[Record, ...]) -> set[str]:
    return {entry.patient_id for entry in records}


FILMS = st.lists(
    st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 13))), max_size=150
)


@given(films=FILMS, seed=st.integers(0, 5), small=st.sets(st.integers(0, 40), max_size=10))
def test_no_patient_is_on_two_sides(
    films: list[tuple[int, int | None]], seed: int, small: set[int]
) -> None:
    # Thirty more patients, so that no part is empty.
    rows = [*films, *((patient, None) for patient in range(100, 130))]
    records = [record(patient, i, label) for i, (patient, label) in enumerate(rows)]
    ineligible = {str(patient) for patient in small}
    split = patient_split(
        records,
        validation=0.15,
        held_out=0.2,
        seed=seed,
        eligible=lambda entry: entry.patient_id not in ineligible,
    )
    sides = [patients_of(side) for side in (split.train, split.validation, split.held_out)]
    all_patients = sides[0] | sides[1] | sides[2]
    assert sum(map(len, sides)) == len(all_patients)
    assert len(split.train) + len(split.validation) + len(split.held_out) == len(records)
    assert ineligible & all_patients <= sides[0]


def test_a_training_only_source_is_never_measured_on() -> None:
    records = [
        replace(record(patient, 0, patient % 14), source="far" if patient % 3 == 0 else "near")
        for patient in range(90)
    ]
    # A patient of both sources trains only, too.
    records.append(replace(record(1, 1, 1), source="far"))
    whole = patient_split(records, validation=0.2, held_out=0.2, seed=3)
    split = patient_split(records, validation=0.2, held_out=0.2, seed=3, training_only={"far"})
    far = {entry.patient_id for entry in records if entry.source == "far"}
    assert "1" in far
    for part, before in ((split.validation, whole.validation), (split.held_out, whole.held_out)):
        assert patients_of(part) == patients_of(before) - far
        assert patients_of(before) & far
    assert len(split.train) + len(split.validation) + len(split.held_out) == len(records)


def test_a_training_only_film_in_the_held_out_list_is_refused() -> None:
    records = [record(patient, 0, patient % 14) for patient in range(30)]
    records[7] = replace(records[7], part=Part.HELD_OUT, source="far")
    with pytest.raises(DataError, match=r"7_0\.png of the training-only source 'far'"):
        patient_split(records, validation=0.2, held_out=0.2, seed=3, training_only=["far"])


def test_the_order_of_the_rows_does_not_matter() -> None:
    records = [record(patient, 0, patient % 14) for patient in range(60)]
    first = patient_split(records, validation=0.2, held_out=0.2, seed=3)
    other = patient_split(records[::-1], validation=0.2, held_out=0.2, seed=3)
    assert first.fingerprint == other.fingerprint
    assert patient_split(records, validation=0.2, held_out=0.2, seed=4).fingerprint != (
        first.fingerprint
    )


def test_each_label_keeps_its_share_and_rare_ones_are_everywhere() -> None:
    records = [record(patient, 0, 0 if patient < 3 else 1) for patient in range(200)]
    split = patient_split(records, validation=0.15, held_out=0.2, seed=0)
    for side, size in ((split.validation, 30), (split.held_out, 40)):
        assert len(side) == size
        assert sum(entry.labels[0] for entry in side) == 1
    assert sum(entry.labels[0] for entry in split.train) == 1


def test_a_split_with_a_shared_patient_cannot_be_made() -> None:
    with pytest.raises(PatientOverlapError, match="1 patients are in both training and held-out"):
        Split((record(1),), (record(2),), (record(1, 1),))


def test_too_few_patients() -> None:
    with pytest.raises(DataError, match="no patient is left"):
        patient_split([record(1), record(2)], validation=0.1, held_out=0.1, seed=0)
