"""Add the form of each object (the size of its pictures, and their loss) and indexes for the start.

The objects of earlier versions have the default form. The indexes are partial: rows of normal
operation are not in them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_UNNAMED = sa.text("patient_name IS NULL")
_SETTINGS = sa.text("kind IN ('configuration_changed', 'sources_adopted')")


def upgrade() -> None:
    """Add the column and the indexes."""
    op.add_column("objects", sa.Column("form", sa.Text, nullable=False, server_default=""))
    op.create_index(
        "ix_instances_unnamed",
        "instances",
        ["source", "study_instance_uid", "patient_id"],
        sqlite_where=_UNNAMED,
        postgresql_where=_UNNAMED,
    )
    op.create_index(
        "ix_audit_events_settings",
        "audit_events",
        ["kind", "host", "number"],
        sqlite_where=_SETTINGS,
        postgresql_where=_SETTINGS,
    )
