"""Fixtures that several test files use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real benchmark metadata and clips, where there is one."""
    candidates = [os.environ.get("OMNI_CLST_REAL_DATA"), REPOSITORY.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "mmau-test-mini.json").is_file():
            return Path(candidate)
    pytest.skip("no real benchmark data: set OMNI_CLST_REAL_DATA to its folder")
