"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real tissue, or a skip that says what to set."""
    folder = os.environ.get("HISTOWEAVE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real tissue is absent: set HISTOWEAVE_DATA to the folder that holds dlpfc/, her2st/, starmap/")
    return Path(folder).resolve()
