"""The interface for programs: acts, and the description of all of it."""
