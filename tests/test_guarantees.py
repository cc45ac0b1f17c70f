"""docs/guarantees.md names tests: each of them exists."""

import ast
import re

from omni_clst.settings import REPOSITORY

TEXT = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_every_test_that_the_guarantees_name_exists():
    defined = {
        node.name
        for path in (REPOSITORY / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 15
    assert named - defined == set()
    files = set(re.findall(r"`(tests/test_\w+\.py)`", TEXT))
    assert files
    assert {file for file in files if not (REPOSITORY / file).is_file()} == set()


def test_every_guarantee_names_what_holds_it():
    rows = [line for line in TEXT.splitlines() if line.startswith("| **")]
    assert rows
    assert [row for row in rows if "test_" not in row.rsplit("|", 2)[1]] == []
