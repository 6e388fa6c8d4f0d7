"""The spool: durable files, locks, CSV files."""
