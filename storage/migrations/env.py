"""Run by Alembic to upgrade the database on the connection of its caller."""

from alembic import context

from storage.tables.columns import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)

context.run_migrations()
