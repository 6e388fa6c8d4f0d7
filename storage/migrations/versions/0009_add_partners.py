"""Add what the exchange with other systems than DICOM nodes needs.

A process of revision 0008 does not know the new kinds of job and the priority of the backfill: it
stops before one of revision 0009 starts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
compatible_from = "0009"


def upgrade() -> None:
    """Add the columns and the tables."""
    _answers()


def _answers() -> None:
    op.add_column("deliveries", sa.Column("answer", sa.Text))
