"""Add what the exchange with other systems than DICOM nodes needs.

A process of revision 0008 does not know the new kinds of job and the priority of the backfill: it
stops before one of revision 0009 starts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
compatible_from = "0009"

_row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and the tables."""
    _answers()
    _patients()
    _workitems()
    _retrievals()


def _answers() -> None:
    op.add_column("deliveries", sa.Column("answer", sa.Text))


def _patients() -> None:
    """Add the messages about patients, and the identities that they gave."""
    op.create_index("ix_instances_patient", "instances", ["patient_id", "source"])
    key = ("source", "patient_id", "issuer")
    op.create_table(
        "patients",
        *(sa.Column(name, sa.Text, nullable=False) for name in key),
        *(sa.Column(name, sa.Text) for name in ("name", "birth_date", "sex")),
        *(sa.Column(name, _moment) for name in ("name_at", "birth_date_at", "sex_at")),
        sa.Column("heir_id", sa.Text),
        sa.Column("heir_issuer", sa.Text),
        sa.Column("merged_at", _moment),
        sa.PrimaryKeyConstraint(*key, name="pk_patients"),
    )
    merged = sa.text("heir_id IS NOT NULL")
    op.create_index(
        "ix_patients_heir",
        "patients",
        ["source", "heir_id", "heir_issuer"],
        sqlite_where=merged,
        postgresql_where=merged,
    )
    op.create_table(
        "patient_messages",
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("sender", "control_id", "sha256", "event", "host")
        ),
        sa.Column("received_at", _moment, nullable=False),
        sa.Column("named", sa.JSON, nullable=False),
        sa.Column("films", sa.Integer, nullable=False),
        sa.Column("studies", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("finished_at", _moment),
        sa.PrimaryKeyConstraint("sender", "control_id", name="pk_patient_messages"),
    )
    op.create_index("ix_patient_messages_finished", "patient_messages", ["finished_at"])
    op.create_table(
        "film_identities",
        sa.Column("instance_id", _row_number, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "patient_id",
                "issuer_of_patient_id",
                "patient_name",
                "patient_birth_date",
                "patient_sex",
            )
        ),
        sa.Column("contradicts", sa.Boolean, nullable=False),
        sa.Column("identity_key", sa.Text, nullable=False),
        sa.Column("made_for", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_film_identities"),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name="fk_film_identities_instance_id_instances"
        ),
    )
    op.create_table(
        "study_changes",
        sa.Column("id", _row_number, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("source", "study_instance_uid", "event", "sender", "host", "detail")
        ),
        sa.Column("changed_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study_changes"),
    )
    op.create_index("ix_study_changes_study", "study_changes", ["study_instance_uid"])


def _workitems() -> None:
    op.create_table(
        "workitems",
        sa.Column("id", _row_number, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "manager",
                "workitem_uid",
                "state",
                "transaction_uid",
                "source",
                "study_instance_uid",
            )
        ),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("outputs", sa.JSON, nullable=False),
        sa.Column("reason_code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("cancel_requested_at", _moment),
        sa.Column("found_at", _moment, nullable=False),
        sa.Column("claimed_at", _moment),
        sa.Column("ended_at", _moment),
        sa.Column("updated_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workitems"),
        sa.UniqueConstraint("manager", "workitem_uid", name="uq_workitems_manager_workitem_uid"),
    )
    op.create_index("ix_workitems_study", "workitems", ["study_instance_uid", "source"])
    op.create_index("ix_workitems_updated", "workitems", ["updated_at", "id"])
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_workitems_open",
        "workitems",
        ["manager", "state"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "pushed_workitems",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("manager", "workitem_uid")),
        sa.Column("attributes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("manager", "workitem_uid", name="pk_pushed_workitems"),
    )
    op.create_table(
        "worklists",
        sa.Column("name", sa.Text, nullable=False),
        *(
            sa.Column(name, _moment)
            for name in ("asked_at", "wanted_at", "answered_at", "subscribed_at")
        ),
        sa.Column("fault", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_worklists"),
    )


def _retrievals() -> None:
    op.create_table(
        "retrieval_orders",
        sa.Column("id", _row_number, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("ordered_by", sa.Text, nullable=False),
        sa.Column("ordered_at", _moment, nullable=False),
        sa.Column("stopped_at", _moment),
        sa.PrimaryKeyConstraint("id", name="pk_retrieval_orders"),
    )
    op.create_table(
        "retrieval_studies",
        sa.Column("order_id", _row_number, nullable=False),
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("order_id", "study_instance_uid", name="pk_retrieval_studies"),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["retrieval_orders.id"],
            name="fk_retrieval_studies_order_id_retrieval_orders",
        ),
    )
    op.create_index("ix_retrieval_studies_study", "retrieval_studies", ["study_instance_uid"])
