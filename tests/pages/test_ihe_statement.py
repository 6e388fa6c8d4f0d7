"""Each claim of the IHE integration statement names a test that runs without `make soak`."""

import ast
import re

import pytest

from tests.tools.paths import ROOT

PAGE = (ROOT / "docs" / "ihe.md").read_text(encoding="utf-8")
_PROFILE = re.compile(r"^\| [^|]*\((\w[\w.-]*)\) \| ([^|]+) \|", re.MULTILINE)


def claims() -> list[tuple[str, str, str]]:
    """Return profile, claim and test of each row."""
    found = re.search(r"<!-- table: claims -->\n\n((?:\|.*\n)+)", PAGE)
    assert found, "docs/ihe.md has no table of claims"
    _, _, *rows = found[1].splitlines()
    cells = [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]
    return [(profile, claim, test.strip("`")) for profile, _, claim, test in cells]


def markers(nodes: list[ast.expr]) -> set[str]:
    return {part for node in nodes for part in re.findall(r"mark\.(\w+)", ast.unparse(node))}


def test_every_profile_has_claims_and_every_claim_a_profile() -> None:
    profiles = [name for name, _ in _PROFILE.findall(PAGE.partition("## Claims")[0])]
    assert profiles == ["AIR", "AIW-I", "SWF.b", "ATNA"]
    assert {profile for profile, *_ in claims()} == set(profiles)


@pytest.mark.parametrize("test", sorted({test for *_, test in claims()}))
def test_a_claim_is_shown_by_a_test(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert name in functions, f"{path} has no {name}"
    of_module = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]
    assert "soak" not in markers([*functions[name].decorator_list, *of_module])


def test_a_claim_is_one_sentence() -> None:
    for _, claim, _ in claims():
        assert claim.endswith(".")
        assert len(claim.split()) >= 6
