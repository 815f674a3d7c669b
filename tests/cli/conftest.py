"""A small section on disk, settings that train in a moment, and the program itself."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from anndata import AnnData

from histoweave.cli import run
from histoweave.datasets import toy_section

QUICK = {"max_epochs": 3, "n_hidden": 32, "n_latent": 16, "n_pcs": 20}


@pytest.fixture(scope="session")
def _section() -> AnnData:
    return toy_section(n_spots=240, n_genes=120, n_domains=3, seed=0)


@pytest.fixture
def section(_section: AnnData) -> AnnData:
    """240 spots, 3 domains, raw counts; a fresh copy."""
    return _section.copy()


@pytest.fixture
def section_file(section: AnnData, tmp_path: Path) -> Path:
    path = tmp_path / "toy.h5ad"
    section.write_h5ad(path)
    return path


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A config file with which training takes a moment."""
    path = tmp_path / "quick.json"
    path.write_text(json.dumps(QUICK))
    return path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process that must fail; return its one line."""

    def refuse(*arguments: object) -> str:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert code == 2, captured.err
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("histoweave: ")
        assert "Traceback" not in captured.err
        return lines[0]

    return refuse


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as a shell would."""

    def start(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "histoweave", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **more)

    return start
