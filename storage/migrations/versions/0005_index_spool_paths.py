"""Find the row that names a file, so that files which none names can be told."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add an index to each table that names files."""
    op.create_index("ix_instances_spool_path", "instances", ["spool_path"])
    op.create_index("ix_objects_spool_path", "objects", ["spool_path"])
