"""Callers of the web role: roles, sessions, tokens, and the guard of every request."""
