"""Columns of the audit table."""

from collections.abc import Sequence

BEFORE_LABELS = (
    "received_at",
    "calling_ae_title",
    "patient_id",
    "accession_number",
    "study_date",
    "modality",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "revision",
    "sha256",
    "state",
    "reason",
    "detail",
    "analysed_at",
    "model_name",
    "model_version",
    "model_sha256",
)
_AFTER_LABELS = ("findings", "report_sop_instance_uid", "deliveries", "purged_at")

# Columns since version 0.2, behind all others, so that the place of a column stays.
_LATER = (
    "source",
    "report_standing",
    "study_status",
    "study_detail",
    "superseded_at",
    "set_aside_at",
    "rejected_by",
    "notes",
)


# What reviewers say, behind all others since version 0.3.
_REVIEWS = ("Review_Remark", "Reviewed_By", "Reviewed_At")


def columns(labels: Sequence[str]) -> list[str]:
    """Return the header of the audit table, with three columns for each label."""
    probabilities = (f"prob_{label}" for label in labels)
    presences = (f"{label}_Present" for label in labels)
    verdicts = (f"Review_{label}" for label in labels)
    return [
        *(*BEFORE_LABELS, *probabilities, *_AFTER_LABELS, *_LATER, *presences),
        *(*verdicts, *_REVIEWS),
    ]


def plain_columns(labels: Sequence[str]) -> set[str]:
    """Return the columns with numbers, times and verdicts, in which no one's text can be."""
    numbers = {"received_at", "revision", "analysed_at", "purged_at", "superseded_at"}
    of_labels = ((f"prob_{label}", f"{label}_Present", f"Review_{label}") for label in labels)
    return numbers.union({"Reviewed_At"}, *of_labels)
