"""Slow work in this process, so that another process gets a share of it."""

import functools
import importlib
import time
from typing import Any

import pytest

SECONDS = 0.1


def slow_here(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Slow a function of a module, which another process imports as it is."""
    module, _, function = name.rpartition(".")
    original = getattr(importlib.import_module(module), function)

    @functools.wraps(original)
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(SECONDS)
        return original(*arguments, **options)

    monkeypatch.setattr(name, slow)
