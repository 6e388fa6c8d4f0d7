"""Add the view of each film, heat maps, reviews, the list of studies, and facts about the node.

A film of an earlier version has no view. `storage.summaries` fills the list of studies.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
fills_summaries = True

_row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_moment = sa.DateTime(timezone=True)
_name = sa.String(32)
_ACTS = (
    "kind IN ('job_parked', 'job_retried', 'job_discarded', 'study_held', 'study_released',"
    " 'analysis_requested', 'delivery_requested')"
)


def upgrade() -> None:
    """Add the column, the tables and the indexes."""
    op.add_column("instances", sa.Column("view_position", sa.Text))
    op.create_table(
        "node_facts",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_node_facts"),
    )
    _create_heat_maps()
    _create_reviews()
    _index_operations()
    _create_study_summaries()


def _create_heat_maps() -> None:
    op.create_table(
        "heat_maps",
        sa.Column("instance_id", _row_number, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("heat", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", "label", name="pk_heat_maps"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name="fk_heat_maps_instance_id_instances"
        ),
    )


def _create_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", _row_number, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("instance_id", _row_number, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("verdict", _name),
        sa.Column("present", sa.Boolean),
        sa.Column("remark", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("reviewed_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name="fk_reviews_instance_id_instances"
        ),
    )
    op.create_index("ix_reviews_instance", "reviews", ["instance_id", "label", "reviewer", "id"])


def _index_operations() -> None:
    """Index the work of the last hours, failed jobs, and the events of the audit trail."""
    for name, table, columns, condition in (
        ("ix_jobs_failed", "jobs", "not_before id kind lane", "state = 'queued' AND attempts > 0"),
        ("ix_instances_analysed", "instances", "analysed_at state", "analysed_at IS NOT NULL"),
        ("ix_objects_reports", "objects", "created_at form kind", "kind = 'report'"),
        (
            "ix_deliveries_delivered",
            "deliveries",
            "destination delivered_at",
            "delivered_at IS NOT NULL",
        ),
        ("ix_audit_events_acts", "audit_events", "subject", _ACTS),
        ("ix_audit_events_kind", "audit_events", "kind number", None),
        ("ix_audit_events_recorded", "audit_events", "recorded_at number", None),
        ("ix_audit_events_failures", "audit_events", "number kind", "outcome = 'failure'"),
    ):
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns.split(), sqlite_where=where, postgresql_where=where)


def _create_study_summaries() -> None:
    texts = {
        name: sa.Column(name, sa.Text, nullable=False)
        for name in (
            "source",
            "study_instance_uid",
            "patient_id",
            "patient_name",
            "patient_sex",
            "patient_birth_date",
            "accession_number",
            "study_date",
            "modality",
            "senders",
            "reasons",
            "positives",
            "mark",
            "patient_key",
            "name_key",
            "accession_key",
        )
    }
    op.create_table(
        "study_summaries",
        sa.Column("id", _row_number, nullable=False),
        *texts.values(),
        sa.Column("films", sa.Integer, nullable=False),
        sa.Column("analysed", sa.Integer, nullable=False),
        sa.Column("first_received_at", _moment, nullable=False),
        sa.Column("last_received_at", _moment, nullable=False),
        sa.Column("state", _name, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study_summaries"),
        sa.UniqueConstraint(
            "study_instance_uid", "source", name="uq_study_summaries_study_instance_uid_source"
        ),
    )
    for name, columns in (
        ("received", ["last_received_at", "id"]),
        ("date", ["study_date", "id"]),
        ("patient", ["patient_id", "id"]),
        ("name", ["name_key", "id"]),
        ("accession", ["accession_number", "id"]),
        ("state", ["state", "last_received_at", "id"]),
    ):
        op.create_index(f"ix_study_summaries_{name}", "study_summaries", columns)
