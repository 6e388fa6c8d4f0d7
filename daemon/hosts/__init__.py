"""The roles of all hosts of one store: announced, surveyed, and compared."""
