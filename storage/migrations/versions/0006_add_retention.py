"""Note when files were purged, and when an image came again after that."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns; nothing of before was ever purged."""
    op.add_column("instances", sa.Column("purged_at", _moment))
    op.add_column("instances", sa.Column("received_again_at", _moment))
    op.add_column("objects", sa.Column("purged_at", _moment))
