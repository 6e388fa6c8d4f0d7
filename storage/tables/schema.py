"""The tables. `storage.migrations` creates them; a test compares the two."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
    text,
)

from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    ObjectKind,
    Standing,
    StudyState,
    StudyStatus,
    Verdict,
)
from storage.tables.columns import RowNumber, StorableText, UtcDateTime, metadata, named

QUEUED_JOBS = text("state = 'queued'")
WITHOUT_LANE = text("coalesce(lane, '') = ''")
"""The conditions of `ix_jobs_queued`; a query that is to use it repeats both texts.

`lane IS NULL` would let SQLite take an index that begins with the lane.
"""

_QUEUED_WITHOUT_LANE = text(f"{QUEUED_JOBS.text} AND {WITHOUT_LANE.text}")
_QUEUED_IN_LANE = text(f"{QUEUED_JOBS.text} AND lane IS NOT NULL")

FAILED_JOBS = text("state = 'queued' AND attempts > 0")
"""The condition of `ix_jobs_failed`; a query that is to use it repeats this text."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("kind", named(JobKind), nullable=False),
    Column("subject", StorableText, nullable=False),
    Column("lane", StorableText),
    Column("state", named(JobState), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("worker", StorableText),
    Column("lease_until", UtcDateTime),
    Column("last_error", StorableText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # 1 is STAT, 0 is ordinary.
    Column("priority", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("kind", "subject"),
    # A claim reads an index in order and stops at the first row: those that wait, and no others.
    Index(
        "ix_jobs_queued",
        *("kind", "priority", "not_before", "id"),
        sqlite_where=_QUEUED_WITHOUT_LANE,
        postgresql_where=_QUEUED_WITHOUT_LANE,
    ),
    Index(
        "ix_jobs_queued_in_lane",
        *("lane", "kind", "priority", "not_before", "id"),
        sqlite_where=_QUEUED_IN_LANE,
        postgresql_where=_QUEUED_IN_LANE,
    ),
    # The jobs by state, among them those in work. Revision 0007 also claims by these two.
    Index("ix_jobs_due", "state", "not_before", "id", "kind"),
    Index("ix_jobs_due_in_lane", "state", "lane", "not_before", "id", "kind"),
    # The few jobs that wait after a failure, for operators.
    Index(
        "ix_jobs_failed",
        *("not_before", "id", "kind", "lane"),
        sqlite_where=FAILED_JOBS,
        postgresql_where=FAILED_JOBS,
    ),
)

instances = Table(
    "instances",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("sop_instance_uid", StorableText, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("sop_class_uid", StorableText, nullable=False),
    Column("transfer_syntax_uid", StorableText, nullable=False),
    Column("study_instance_uid", StorableText, nullable=False),
    Column("series_instance_uid", StorableText, nullable=False),
    Column("patient_id", StorableText, nullable=False),
    Column("accession_number", StorableText, nullable=False),
    Column("study_date", StorableText, nullable=False),
    Column("modality", StorableText, nullable=False),
    Column("calling_ae_title", StorableText, nullable=False),
    Column("spool_path", StorableText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", StorableText, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("state", named(InstanceState), nullable=False),
    Column("reason", StorableText),
    Column("detail", StorableText),
    Column("notes", JSON, nullable=False),
    Column("analysed_at", UtcDateTime),
    Column("model_name", StorableText),
    Column("model_version", StorableText),
    Column("model_sha256", StorableText),
    # When the row became a mere record; `spool_path` is empty after the file was deleted.
    Column("purged_at", UtcDateTime),
    # When the same bytes were received last after their first reception.
    Column("received_again_at", UtcDateTime),
    # The source of the peer that sent it; '' is unknown, from before there were sources.
    Column("source", StorableText, nullable=False, server_default=""),
    # None: from before these were read.
    Column("issuer_of_patient_id", StorableText),
    Column("patient_name", StorableText),
    Column("patient_birth_date", StorableText),
    Column("patient_sex", StorableText),
    Column("view_position", StorableText),
    # The code of the rejection note that names it, for example 113001.
    Column("rejected_by", StorableText),
    # When an operator dropped it from its study.
    Column("set_aside_at", UtcDateTime),
    # As it was sent: 1 is STAT, 0 is ordinary.
    Column("priority", Integer, nullable=False, server_default=text("0")),
    UniqueConstraint("source", "sop_instance_uid", "revision"),
    UniqueConstraint("source", "sop_instance_uid", "sha256"),
    Index("ix_instances_sop_instance_uid", "sop_instance_uid"),
    Index("ix_instances_study", "study_instance_uid"),
    Index("ix_instances_received", "received_at", "id"),
    # The films of a patient that a message names.
    Index("ix_instances_patient", "patient_id", "source"),
    Index("ix_instances_spool_path", "spool_path"),
    # The films of the last hours, counted by state.
    Index(
        "ix_instances_analysed",
        *("analysed_at", "state"),
        sqlite_where=text("analysed_at IS NOT NULL"),
        postgresql_where=text("analysed_at IS NOT NULL"),
    ),
    # The films of an earlier version, which the start looks for.
    Index(
        "ix_instances_unnamed",
        *("source", "study_instance_uid", "patient_id"),
        sqlite_where=text("patient_name IS NULL"),
        postgresql_where=text("patient_name IS NULL"),
    ),
)

findings = Table(
    "findings",
    metadata,
    Column("instance_id", RowNumber, ForeignKey(instances.c.id), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", StorableText, nullable=False),
    Column("logit", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("region", JSON(none_as_null=True)),
    UniqueConstraint("instance_id", "label"),
)

# The small heat maps of findings, encoded by the analyst. In a table of their own: rows of findings
# are read by the thousand, and stay short.
heat_maps = Table(
    "heat_maps",
    metadata,
    Column("instance_id", RowNumber, ForeignKey(instances.c.id), primary_key=True),
    Column("label", StorableText, primary_key=True),
    Column("heat", LargeBinary, nullable=False),
)

REPORTS = text("kind = 'report'")
"""The condition of `ix_objects_reports`; a query that is to use it repeats this text."""

objects = Table(
    "objects",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("sop_instance_uid", StorableText, nullable=False, unique=True),
    Column("sop_class_uid", StorableText, nullable=False),
    Column("kind", named(ObjectKind), nullable=False),
    Column("study_instance_uid", StorableText, nullable=False),
    Column("instance_id", RowNumber, ForeignKey(instances.c.id)),
    Column("label", StorableText),
    Column("spool_path", StorableText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", StorableText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("purged_at", UtcDateTime),
    Column("source", StorableText, nullable=False, server_default=""),
    Column("standing", named(Standing), nullable=False, server_default=Standing.VALID),
    # The form of its pictures; '' is the default form.
    Column("form", StorableText, nullable=False, server_default=""),
    Index("ix_objects_study", "study_instance_uid"),
    Index("ix_objects_instance", "instance_id"),
    Index("ix_objects_spool_path", "spool_path"),
    # The reports of the last hours.
    Index(
        "ix_objects_reports",
        *("created_at", "form", "kind"),
        sqlite_where=REPORTS,
        postgresql_where=REPORTS,
    ),
)

studies = Table(
    "studies",
    metadata,
    Column("source", StorableText, primary_key=True, server_default=""),
    Column("study_instance_uid", StorableText, primary_key=True),
    Column("status", named(StudyStatus), nullable=False),
    Column("detail", StorableText, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# The list of studies: one row per study with instances, changed in the transaction that changes the
# study (storage.summaries). All of it can be computed from the other tables.
study_summaries = Table(
    "study_summaries",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("source", StorableText, nullable=False),
    Column("study_instance_uid", StorableText, nullable=False),
    Column("patient_id", StorableText, nullable=False),
    Column("patient_name", StorableText, nullable=False),
    Column("patient_sex", StorableText, nullable=False),
    Column("patient_birth_date", StorableText, nullable=False),
    Column("accession_number", StorableText, nullable=False),
    Column("study_date", StorableText, nullable=False),
    Column("modality", StorableText, nullable=False),
    Column("senders", StorableText, nullable=False),
    Column("films", Integer, nullable=False),
    Column("analysed", Integer, nullable=False),
    Column("first_received_at", UtcDateTime, nullable=False),
    Column("last_received_at", UtcDateTime, nullable=False),
    Column("state", named(StudyState), nullable=False),
    Column("reasons", StorableText, nullable=False),
    Column("positives", StorableText, nullable=False),
    Column("mark", StorableText, nullable=False),
    Column("patient_key", StorableText, nullable=False),
    Column("name_key", StorableText, nullable=False),
    Column("accession_key", StorableText, nullable=False),
    UniqueConstraint("study_instance_uid", "source"),
    Index("ix_study_summaries_received", "last_received_at", "id"),
    # The orders in which people leaf through the whole list.
    Index("ix_study_summaries_date", "study_date", "id"),
    Index("ix_study_summaries_patient", "patient_id", "id"),
    Index("ix_study_summaries_name", "name_key", "id"),
    Index("ix_study_summaries_accession", "accession_number", "id"),
    Index("ix_study_summaries_state", "state", "last_received_at", "id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column(
        "sop_instance_uid", StorableText, ForeignKey(objects.c.sop_instance_uid), primary_key=True
    ),
    Column("destination", StorableText, primary_key=True),
    Column("job_id", RowNumber, ForeignKey(jobs.c.id), nullable=False, unique=True),
    Column("delivered_at", UtcDateTime),
    Column("dimse_status", Integer),
    Column("sop_class_uid", StorableText),
    Column("committed_at", UtcDateTime),
    # The SOP Instance UID under which the destination keeps the object, if it chose another.
    Column("coerced_uid", StorableText),
    # What the delivery is found by at a destination that is no DICOM node.
    Column("answer", StorableText),
    # Since when the object may not leave, because its study is in doubt.
    Column("held_at", UtcDateTime),
    Index("ix_deliveries_coerced_uid", "coerced_uid"),
    # The deliveries of the last hours, and the last of each destination.
    Index(
        "ix_deliveries_delivered",
        *("destination", "delivered_at"),
        sqlite_where=text("delivered_at IS NOT NULL"),
        postgresql_where=text("delivered_at IS NOT NULL"),
    ),
)

# A rejection note may come before the film that it names.
rejections = Table(
    "rejections",
    metadata,
    Column("source", StorableText, primary_key=True, server_default=""),
    Column("sop_instance_uid", StorableText, primary_key=True),
    Column("code", StorableText, nullable=False),
    Column("note_uid", StorableText, primary_key=True),
    Column("received_at", UtcDateTime, nullable=False),
)

commitment_requests = Table(
    "commitment_requests",
    metadata,
    Column("transaction_uid", StorableText, primary_key=True),
    Column("study_instance_uid", StorableText, nullable=False),
    Column("destination", StorableText, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    # None until the archive accepted the request.
    Column("answer_by", UtcDateTime),
    # When the request was answered or its answer was overdue.
    Column("closed_at", UtcDateTime),
    Column("answered_at", UtcDateTime),
    Index("ix_commitment_requests_study", "study_instance_uid", "destination"),
)

commitment_items = Table(
    "commitment_items",
    metadata,
    Column(
        "transaction_uid",
        StorableText,
        ForeignKey(commitment_requests.c.transaction_uid),
        primary_key=True,
    ),
    Column("sop_instance_uid", StorableText, primary_key=True),
    Column("sop_class_uid", StorableText, nullable=False),
    Column("failure_reason", Integer),
    # True from the last failure, after which the object is not sent again, until the job is parked.
    Column("given_up", Boolean, nullable=False),
    Index("ix_commitment_items_object", "sop_instance_uid"),
)

commitment_inquiries = Table(
    "commitment_inquiries",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("peer", StorableText, nullable=False),
    Column("transaction_uid", StorableText, nullable=False),
    # [[SOP Class UID, SOP Instance UID], …], sorted
    Column("instances", JSON, nullable=False),
    Column("reuses_uid", Boolean, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("reported_at", UtcDateTime),
    Index("ix_commitment_inquiries_transaction", "transaction_uid", "peer"),
)

SETTINGS = text("kind IN ('configuration_changed', 'sources_adopted')")
"""The condition of `ix_audit_events_settings`; a query that is to use it repeats this text."""

ACTS = text(
    "kind IN ('job_parked', 'job_retried', 'job_discarded', 'study_held', 'study_released',"
    " 'analysis_requested', 'delivery_requested')"
)
"""The condition of `ix_audit_events_acts`; a query that is to use it repeats this text."""

FAILED_EVENTS = text("outcome = 'failure'")
"""The condition of `ix_audit_events_failures`; a query that is to use it repeats this text."""

# Every cell is text: a row is hashed as it is stored (storage.audit.chain).
audit_events = Table(
    "audit_events",
    metadata,
    Column("number", RowNumber, primary_key=True, autoincrement=False),
    Column("recorded_at", StorableText, nullable=False),
    Column("kind", StorableText, nullable=False),
    Column("outcome", StorableText, nullable=False),
    Column("actor", StorableText, nullable=False),
    Column("host", StorableText, nullable=False),
    Column("subject", StorableText, nullable=False),
    Column("detail", StorableText, nullable=False),
    Column("previous_hash", StorableText, nullable=False),
    Column("hash", StorableText, nullable=False),
    # The few rows that the start looks for in a long trail.
    Index(
        "ix_audit_events_settings",
        *("kind", "host", "number"),
        sqlite_where=SETTINGS,
        postgresql_where=SETTINGS,
    ),
    # The acts of operators and their causes, for the history of a study. The many rows of normal
    # operation are not in it.
    Index("ix_audit_events_acts", "subject", sqlite_where=ACTS, postgresql_where=ACTS),
    # For administrators who look for events.
    Index("ix_audit_events_kind", "kind", "number"),
    Index("ix_audit_events_recorded", "recorded_at", "number"),
    Index(
        "ix_audit_events_failures",
        *("number", "kind"),
        sqlite_where=FAILED_EVENTS,
        postgresql_where=FAILED_EVENTS,
    ),
)

# The last row read by each reader of the trail, and the process that holds its lease.
audit_readers = Table(
    "audit_readers",
    metadata,
    Column("name", StorableText, primary_key=True),
    Column("number", RowNumber, nullable=False),
    Column("holder", StorableText, nullable=False),
    Column("held_until", UtcDateTime, nullable=False),
)

# Reviews of films by people: only added. The newest row of a film, a label and a reviewer counts.
reviews = Table(
    "reviews",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("source", StorableText, nullable=False),
    Column("sop_instance_uid", StorableText, nullable=False),
    Column("instance_id", RowNumber, ForeignKey(instances.c.id), nullable=False),
    # '' for the remark on the film as a whole.
    Column("label", StorableText, nullable=False),
    # None: no verdict, or the reviewer takes an earlier verdict back.
    Column("verdict", named(Verdict)),
    # The call that the verdict is about: a later analysis may call otherwise.
    Column("present", Boolean),
    Column("remark", StorableText, nullable=False),
    Column("reviewer", StorableText, nullable=False),
    Column("reviewed_at", UtcDateTime, nullable=False),
    Index("ix_reviews_instance", "instance_id", "label", "reviewer", "id"),
)

# Facts about the node itself, for example the version that created the store.
node_facts = Table(
    "node_facts",
    metadata,
    Column("name", StorableText, primary_key=True),
    Column("value", StorableText, nullable=False),
)
