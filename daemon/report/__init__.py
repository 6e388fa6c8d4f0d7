"""The analyst: a quiet study to its Structured Report."""
