"""Folders that tests read."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

FIELD_CASES = ROOT.parent / "shared" / "field-cases"
"""Folder of inputs that went wrong in the field; it lies beside the checkout, or not at all."""


def field_case(name: str) -> Path:
    """Return a file of the field cases; skip the test if there is none."""
    path = FIELD_CASES / name
    if not path.exists():
        pytest.skip(f"no field case {path}")
    return path
