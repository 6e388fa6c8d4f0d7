"""The start of the command."""
