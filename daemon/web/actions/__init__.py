"""Confirmation pages and forms of the acts of operators."""
