"""Add the form of each object: the size of its pictures, and their loss.

The objects of earlier versions have the default form.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("objects", sa.Column("form", sa.Text, nullable=False, server_default=""))
