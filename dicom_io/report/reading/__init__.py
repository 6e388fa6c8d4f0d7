"""A Structured Report of this software, read back from its bytes."""
