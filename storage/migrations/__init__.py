"""The migrations of the tables; `storage.tables.schema` describes the current tables."""
