"""``docs/security.md`` claims nothing that no test shows, and names no test that does not exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATES = ("met", "partly", "not met", "not applicable")
REQUIRED = (
    *(f"SR 1.{n}" for n in range(1, 14)), *(f"SR 2.{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11)),
    *(f"SR 3.{n}" for n in range(1, 10)), *(f"SR 4.{n}" for n in (1, 2, 3)), *(f"SR 5.{n}" for n in range(1, 5)),
    "SR 6.1", "SR 6.2", *(f"SR 7.{n}" for n in range(1, 9)), "SR 1.1 RE 1", "SR 1.6 RE 1", "SR 1.13 RE 1",
    "SR 2.1 RE 1", "SR 2.1 RE 2", "SR 3.2 RE 1", "SR 4.1 RE 1", "SR 5.1 RE 1", "SR 5.2 RE 1", "SR 7.1 RE 1",
    "SR 7.3 RE 1",
)  # fmt: skip
"""What IEC 62443-3-3 selects for SL 2; SR 2.7 and 2.12 begin at SL 3."""


def rows() -> dict[str, list[str]]:
    """Cells of each row of the table, by requirement."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("SR ") and len(cells) > 1:
            assert cells[0] not in found, f"{cells[0]} stands twice"
            found[cells[0]] = cells
    return found


@cache
def defined_in(file: str) -> frozenset[str]:
    """Names of the functions in a file that are run as tests: neither helpers nor what stands inside of others."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return frozenset(name for name in found if name.startswith("test_"))


def linked(text: str) -> list[tuple[str, str]]:
    """Tests that a text names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def test_every_requirement_of_the_level_has_a_row() -> None:
    assert set(REQUIRED) == set(rows())


@pytest.mark.parametrize("requirement", REQUIRED)
def test_a_row_says_how_and_claims_nothing_without_a_test(requirement: str) -> None:
    _, asks, state, how, shown = rows()[requirement]
    assert asks
    assert how
    assert state in STATES
    tests = linked(shown)
    assert bool(tests) == (state in ("met", "partly")), f"{requirement}: {state} with {len(tests)} tests"
    assert len(tests) == shown.count("::"), f"{requirement}: a test is named in a way that cannot be found"


def test_every_test_that_is_named_anywhere_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = linked(text)
    gone = [f"{file}::{name}" for file, name in named if not (ROOT / file).exists() or name not in defined_in(file)]
    assert not gone, gone
    assert len(named) > 60


def test_a_link_to_a_helper_would_be_noticed() -> None:
    here = "tests/core/test_security_doc.py"
    assert "test_every_requirement_of_the_level_has_a_row" in defined_in(here)
    assert not {"rows", "linked", "inner"} & defined_in(here)


def test_every_code_file_that_is_named_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:core|io|control|tests|configs|docs)/[\w/.-]+)`", text)
    assert len(files) >= 4
    assert not [one for one in files if not (ROOT / one).exists()]
