"""Add the outline of a finding's hottest area."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; earlier findings have no region."""
    op.add_column("findings", sa.Column("region", sa.JSON))
