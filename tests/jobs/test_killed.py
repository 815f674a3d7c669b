"""Whole process groups are killed, as benchmarks/interrupted.py does it twenty times."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "interrupted.py"


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.exists(), reason="benchmarks/ is not shipped with this copy of the tests")
def test_killed_at_a_random_moment():
    command = [sys.executable, SCRIPT, "--quick", "--kills", "1", "--seed", "3"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "domains: 1 of 1" in result.stdout
    assert "predict: 1 of 1" in result.stdout
