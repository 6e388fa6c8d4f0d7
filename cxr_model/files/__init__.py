"""Reads files of unknown origin in bounded time and memory."""
