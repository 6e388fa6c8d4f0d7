"""Create the tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_moment = sa.DateTime(timezone=True)
_name = sa.String(32)


def upgrade() -> None:
    """Create all tables."""
    _create_jobs()
    _create_instances()
    _create_findings()
    _create_objects()
    _create_studies()
    _create_deliveries()


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _row_number, nullable=False),
        sa.Column("kind", _name, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("lane", sa.Text),
        sa.Column("state", _name, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("not_before", _moment, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("lease_until", _moment),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", _moment, nullable=False),
        sa.Column("updated_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("kind", "subject", name="uq_jobs_kind_subject"),
    )
    op.create_index("ix_jobs_due", "jobs", ["state", "not_before", "id", "kind"])
    op.create_index("ix_jobs_due_in_lane", "jobs", ["state", "lane", "not_before", "id", "kind"])


def _create_instances() -> None:
    op.create_table(
        "instances",
        sa.Column("id", _row_number, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text, nullable=False),
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.Column("series_instance_uid", sa.Text, nullable=False),
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("accession_number", sa.Text, nullable=False),
        sa.Column("study_date", sa.Text, nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("calling_ae_title", sa.Text, nullable=False),
        sa.Column("spool_path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("received_at", _moment, nullable=False),
        sa.Column("state", _name, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("analysed_at", _moment),
        sa.Column("model_name", sa.Text),
        sa.Column("model_version", sa.Text),
        sa.Column("model_sha256", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint(
            "sop_instance_uid", "revision", name="uq_instances_sop_instance_uid_revision"
        ),
        sa.UniqueConstraint(
            "sop_instance_uid", "sha256", name="uq_instances_sop_instance_uid_sha256"
        ),
    )
    op.create_index("ix_instances_study", "instances", ["study_instance_uid"])
    op.create_index("ix_instances_received", "instances", ["received_at", "id"])


def _create_findings() -> None:
    op.create_table(
        "findings",
        sa.Column("instance_id", _row_number, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("logit", sa.Float, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", "position", name="pk_findings"),
        sa.UniqueConstraint("instance_id", "label", name="uq_findings_instance_id_label"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name="fk_findings_instance_id_instances"
        ),
    )


def _create_objects() -> None:
    op.create_table(
        "objects",
        sa.Column("id", _row_number, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("kind", _name, nullable=False),
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.Column("instance_id", _row_number),
        sa.Column("label", sa.Text),
        sa.Column("spool_path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("created_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_objects"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_objects_sop_instance_uid"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name="fk_objects_instance_id_instances"
        ),
    )
    op.create_index("ix_objects_study", "objects", ["study_instance_uid"])
    op.create_index("ix_objects_instance", "objects", ["instance_id"])


def _create_studies() -> None:
    op.create_table(
        "studies",
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.Column("status", _name, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("updated_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_studies"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("job_id", _row_number, nullable=False),
        sa.Column("delivered_at", _moment),
        sa.Column("dimse_status", sa.Integer),
        sa.Column("sop_class_uid", sa.Text),
        sa.PrimaryKeyConstraint("sop_instance_uid", "destination", name="pk_deliveries"),
        sa.UniqueConstraint("job_id", name="uq_deliveries_job_id"),
        sa.ForeignKeyConstraint(
            ["sop_instance_uid"],
            ["objects.sop_instance_uid"],
            name="fk_deliveries_sop_instance_uid_objects",
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_deliveries_job_id_jobs"),
    )
