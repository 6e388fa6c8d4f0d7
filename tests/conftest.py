"""Fixtures every test folder shares."""

from pathlib import Path

import pytest

from tests.builders.certificates import Authority, authority
from tests.builders.made_models import build_bundle

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images and DICOM files that lies beside the checkout, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no folder of real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle whose random network finds about half of the labels in any image."""
    folder = tmp_path_factory.mktemp("bundle") / "random"
    build_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA with certificates for `cxrd`, `pacs` and `modality`, all for this machine."""
    return authority(tmp_path_factory.mktemp("pki") / "site")


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA with certificates of the same names, which nobody here trusts."""
    return authority(tmp_path_factory.mktemp("pki") / "strangers")
