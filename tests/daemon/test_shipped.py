"""Files that cxrd ships are found in a checkout; test_wheel.py finds them in an installed wheel."""

import pytest

from daemon.errors import DaemonError
from daemon.shipped import shipped_file
from tests.tools.paths import ROOT


@pytest.mark.parametrize("name", ["config.yaml", "README.md", "docs/routing.md"])
def test_a_checkout_has_the_files(name: str) -> None:
    assert shipped_file(name) == ROOT / name


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DaemonError, match=r"docs/gone\.md is missing from this installation"):
        shipped_file("docs/gone.md")
