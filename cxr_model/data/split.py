"""Patient-disjoint splits into training, validation and held-out films."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxr_model.data.chestxray14 import Part, Record
from cxr_model.errors import DataError, PatientOverlapError
from cxr_model.findings import LABELS


@dataclass(frozen=True, slots=True)
class Split:
    """Films for training, for selection and calibration (validation), and for scoring."""

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    held_out: tuple[Record, ...]

    def __post_init__(self) -> None:
        """Raise PatientOverlapError if a patient is in two parts."""
        check_disjoint(
            {"training": self.train, "validation": self.validation, "held-out": self.held_out}
        )

    @property
    def fingerprint(self) -> str:
        """sha256 over the validation and held-out patients; it does not reveal identifiers."""
        text = "\n".join(
            f"{part}:{patient}"
            for part, records in (("v", self.validation), ("h", self.held_out))
            for patient in sorted({record.patient_id for record in records})
        )
        return hashlib.sha256(text.encode()).hexdigest()


def check_disjoint(parts: Mapping[str, Iterable[Record]]) -> None:
    """Raise PatientOverlapError with up to three patients if two parts share any."""
    seen: dict[str, str] = {}
    shared: dict[str, tuple[str, str]] = {}
    for name, records in parts.items():
        for patient in {record.patient_id for record in records}:
            if seen.setdefault(patient, name) != name:
                shared[patient] = (seen[patient], name)
    if shared:
        some = ", ".join(sorted(shared)[:3])
        first, second = shared[min(shared)]
        raise PatientOverlapError(
            f"{len(shared)} patients are in both {first} and {second}, such as {some}: "
            "split by patient, not by image"
        )


def patient_split(
    records: Sequence[Record],
    *,
    validation: float,
    held_out: float,
    seed: int,
    eligible: Callable[[Record], bool] | None = None,
    training_only: Collection[str] = (),
) -> Split:
    """Split by patient and keep each label's share of patients similar in all parts.

    Films that already have a part keep it (NIH's official lists, a ``split`` column); films of the
    pool are divided between training and validation. `validation` and `held_out` are fractions of
    all patients. A patient with a film that is not `eligible` is used for training only. Then every
    patient with a film of a source in `training_only` is moved to training; the other patients stay
    where they are. The split depends on the records and the seed, not on the order of the records.

    Raises PatientOverlapError if given parts share a patient, DataError if a part is empty or
    the records put a film of a training-only source into another part.
    """
    given = _given_parts(records)
    by_patient: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_patient[record.patient_id].append(record)
    wanted = {Part.VALIDATION: validation, Part.HELD_OUT: held_out}
    for part in wanted:
        if part in given.values():
            wanted[part] = 0.0
    free = {
        patient: films
        for patient, films in by_patient.items()
        if given.get(patient) in (None, Part.POOL)
        and (eligible is None or all(eligible(film) for film in films))
    }
    counts = {part: round(share * len(by_patient)) for part, share in wanted.items()}
    chosen = _stratify(free, counts, seed)
    side = {
        patient: chosen.get(patient, Part.TRAIN if part in (None, Part.POOL) else part)
        for patient in by_patient
        for part in (given.get(patient),)
    }
    for record in records:
        if record.source in training_only:
            if given.get(record.patient_id) in (Part.VALIDATION, Part.HELD_OUT):
                raise DataError(
                    f"{record.image} of the training-only source {record.source!r} is in the "
                    f"{given[record.patient_id]} part of the label table"
                )
            side[record.patient_id] = Part.TRAIN
    sides = {
        part: tuple(record for record in records if side[record.patient_id] is part)
        for part in (Part.TRAIN, Part.VALIDATION, Part.HELD_OUT)
    }
    for part, films in sides.items():
        if not films:
            raise DataError(f"no patient is left for the {part} part: more patients are needed")
    return Split(sides[Part.TRAIN], sides[Part.VALIDATION], sides[Part.HELD_OUT])


def _given_parts(records: Iterable[Record]) -> dict[str, Part]:
    by_part: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.part is not None:
            by_part[record.part].append(record)
    check_disjoint(by_part)
    return {film.patient_id: Part(part) for part, films in by_part.items() for film in films}


def _stratify(
    patients: Mapping[str, Sequence[Record]], counts: Mapping[Part, int], seed: int
) -> dict[str, Part]:
    """Iterative stratification (Sechidis et al., ECML 2011) of patients, rarest label first."""
    order = sorted(patients)
    np.random.default_rng(seed).shuffle(order)
    labels = {
        patient: np.max([film.labels for film in patients[patient]], axis=0) for patient in order
    }
    chosen: dict[str, Part] = {}
    left = dict(counts)
    totals = np.sum([labels[patient] for patient in order], axis=0) if order else np.zeros(1)
    for label in np.argsort(totals, kind="stable") if order else ():
        holders = [patient for patient in order if labels[patient][label] > 0]
        for part, count in counts.items():
            share = count / len(order)
            already = sum(1 for p in holders if chosen.get(p) is part)
            # At least one, because a label without positives cannot be scored.
            need = max(round(share * len(holders)), 1 if count else 0) - already
            _choose(holders, part, min(need, left[part]), chosen, left)
    for part in counts:
        healthy = [patient for patient in order if not labels[patient].any()]
        _choose(healthy, part, left[part], chosen, left)
        _choose(order, part, left[part], chosen, left)
    return chosen


def _choose(
    candidates: Iterable[str],
    part: Part,
    count: int,
    chosen: dict[str, Part],
    left: dict[Part, int],
) -> None:
    for patient in candidates:
        if count <= 0:
            return
        if patient not in chosen:
            chosen[patient] = part
            left[part] -= 1
            count -= 1


def positives(records: Iterable[Record]) -> dict[str, int]:
    """Return the number of films with each finding."""
    totals = np.sum([record.labels for record in records], axis=0)
    return {label: int(total) for label, total in zip(LABELS, totals, strict=True)}
