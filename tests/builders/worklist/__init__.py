"""A worklist manager in memory, and a performer at it."""
