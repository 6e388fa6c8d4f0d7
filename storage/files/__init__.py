"""Files: the spool, durable writes, locks, CSV."""
