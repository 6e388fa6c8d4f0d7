"""Keep where the map of a finding is hottest."""

import sqlalchemy as sa
from alembic import op

revision = "0003"

down_revision = "0002"


def upgrade() -> None:
    """Add the column; findings of before have no region."""
    op.add_column("findings", sa.Column("region", sa.JSON))
