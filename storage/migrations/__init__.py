"""Building and upgrading the tables; `storage.schema` has them as they are now."""
