"""Tables, their migration, and transactions."""
