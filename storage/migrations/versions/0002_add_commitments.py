"""Add storage commitment: our requests to archives and the inquiries of peers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the three tables, and the time of its commitment for each delivery."""
    op.add_column("deliveries", sa.Column("committed_at", _moment))
    _create_commitment_requests()
    _create_commitment_items()
    _create_commitment_inquiries()


def _create_commitment_requests() -> None:
    op.create_table(
        "commitment_requests",
        sa.Column("transaction_uid", sa.Text, nullable=False),
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("requested_at", _moment, nullable=False),
        sa.Column("answer_by", _moment),
        sa.Column("closed_at", _moment),
        sa.Column("answered_at", _moment),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_commitment_requests"),
    )
    op.create_index(
        "ix_commitment_requests_study",
        "commitment_requests",
        ["study_instance_uid", "destination"],
    )


def _create_commitment_items() -> None:
    op.create_table(
        "commitment_items",
        sa.Column("transaction_uid", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("failure_reason", sa.Integer),
        sa.Column("given_up", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("transaction_uid", "sop_instance_uid", name="pk_commitment_items"),
        sa.ForeignKeyConstraint(
            ["transaction_uid"],
            ["commitment_requests.transaction_uid"],
            name="fk_commitment_items_transaction_uid_commitment_requests",
        ),
    )
    op.create_index("ix_commitment_items_object", "commitment_items", ["sop_instance_uid"])


def _create_commitment_inquiries() -> None:
    op.create_table(
        "commitment_inquiries",
        sa.Column("id", _row_number, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("transaction_uid", sa.Text, nullable=False),
        sa.Column("instances", sa.JSON, nullable=False),
        sa.Column("reuses_uid", sa.Boolean, nullable=False),
        sa.Column("received_at", _moment, nullable=False),
        sa.Column("reported_at", _moment),
        sa.PrimaryKeyConstraint("id", name="pk_commitment_inquiries"),
    )
    op.create_index(
        "ix_commitment_inquiries_transaction",
        "commitment_inquiries",
        ["transaction_uid", "peer"],
    )
