"""A store of very many studies as a hospital's node has after two years, made in bulk."""

from tests.builders.big_store.filling import build

__all__ = ["build"]
