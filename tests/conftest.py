"""Fixtures that several test files use."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import fork_server
import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("suite", deadline=None)  # a loaded machine is no reason to fail
settings.load_profile("suite")


def pytest_configure(config) -> None:
    """The process that starts the others starts the server that all of them use."""
    if hasattr(config, "workerinput"):
        return
    folder = tempfile.mkdtemp(prefix="omni-clst-")  # a socket's path is short
    server = fork_server.start(folder)
    config.add_cleanup(lambda: (server.communicate(), shutil.rmtree(folder)))


def pytest_collection_finish() -> None:
    """Trainers collect garbage at their start: that need not go through all imported modules every time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real benchmark metadata and clips, where there is one."""
    candidates = [os.environ.get("OMNI_CLST_REAL_DATA"), REPOSITORY.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "mmau-test-mini.json").is_file():
            return Path(candidate)
    pytest.skip("no real benchmark data: set OMNI_CLST_REAL_DATA to its folder")
