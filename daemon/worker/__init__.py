"""A role's process: start, stop, loop, retry."""
