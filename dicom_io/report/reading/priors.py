"""A report as one that a later report names."""

import re
from datetime import date

from dicom_io.objects.algorithm import plain
from dicom_io.report.content import ObjectReference, PriorReport
from dicom_io.report.reading.read_values import ReadReport

_DATE = re.compile(r"\d{8}")


def prior_report(report: ReadReport) -> PriorReport:
    """Return the report with its own sentence on each image.

    The model is named, because another model has other thresholds.
    """
    document, study, algorithm = report.document, report.study, report.algorithm
    day = _day(study.date)
    sentences = " ".join(image.sentences[0] for image in report.images if image.sentences)
    return PriorReport(
        reference=ObjectReference(
            document.sop_class_uid,
            document.sop_instance_uid,
            document.series_instance_uid,
            study.study_instance_uid,
        ),
        study_date=f"{day:%Y%m%d}" if day else "",
        said=plain(
            f"Study of {day or 'unknown date'}, {algorithm.name} {algorithm.version}: {sentences}"
        ),
    )


def _day(value: str) -> date | None:
    """Return a DICOM date; None if it is malformed."""
    try:
        return date.fromisoformat(value) if _DATE.fullmatch(value) else None
    except ValueError:
        return None
