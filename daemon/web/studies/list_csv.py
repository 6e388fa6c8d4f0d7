"""The studies of a search as CSV: a row per study, a column per finding."""

from collections.abc import Iterable, Iterator, Sequence

from daemon.web.studies.list_view import line_of
from storage.files.csv_file import csv_part
from storage.search.records import MeasuredStudy

_BEFORE = ("study_date", "accession_number", "patient_id")
_AFTER = (
    "patient_sex",
    "patient_age",
    "modality",
    "senders",
    "source",
    "study_instance_uid",
    "films",
    "analysed",
    "state",
    "reasons",
    "mark",
    "first_received_at",
    "last_received_at",
    "findings",
)


def columns(labels: Sequence[str], *, with_names: bool) -> list[str]:
    """Return the header; `prob_<label>` is the highest probability among the study's films."""
    names = ("patient_name",) if with_names else ()
    return [*_BEFORE, *names, *_AFTER, *(f"prob_{label}" for label in labels)]


def csv_lines(
    parts: Iterable[Sequence[MeasuredStudy]], labels: Sequence[str], *, with_names: bool
) -> Iterator[bytes]:
    """Yield the header and the rows of each part as UTF-8, with every formula neutralised."""
    header = columns(labels, with_names=with_names)
    yield csv_part(header, [list(header)]).data
    for part in parts:
        rows = (_cells(study, labels, with_names=with_names) for study in part)
        yield csv_part(header, rows).data


def _cells(study: MeasuredStudy, labels: Sequence[str], *, with_names: bool) -> list[str]:
    line, probabilities = line_of(study.row, with_name=with_names), study.probabilities
    return [
        line.study_date,
        line.accession_number,
        line.patient_id,
        *([line.patient_name or ""] if with_names else []),
        line.sex,
        "" if line.age is None else str(line.age),
        line.modality.replace("\\", " "),
        " ".join(line.senders),
        line.source,
        line.study_instance_uid,
        str(line.films),
        str(line.analysed),
        line.state,
        " ".join(reason.code for reason in line.reasons),
        line.mark,
        line.received_at.isoformat(timespec="milliseconds"),
        line.last_received_at.isoformat(timespec="milliseconds"),
        "; ".join(f"{found.label} {found.probability:.4f}" for found in line.findings),
        *(f"{probabilities[label]:.6f}" if label in probabilities else "" for label in labels),
    ]
