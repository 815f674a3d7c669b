"""Importing histoquilt is fast because it loads nothing heavy."""

import subprocess
import sys


def test_import_loads_no_torch_and_no_scanpy():
    code = "import sys, histoquilt; print([m for m in ('torch', 'scanpy', 'anndata', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_unknown_room_lists_the_known_ones():
    import pytest

    import histoquilt

    with pytest.raises(AttributeError, match="Rooms: datasets"):
        histoquilt.nowhere  # noqa: B018
