"""Typical mistakes of an installation, each with the line that names it."""
