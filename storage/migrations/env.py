"""Alembic runs this to upgrade the database on the connection it was handed."""

from alembic import context

from storage.tables.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)

context.run_migrations()
