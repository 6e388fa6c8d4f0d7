"""Fixtures every test folder shares."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and DICOM files that lies beside the checkout, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no folder of real data at {SHARED_DATA}")
    return SHARED_DATA
