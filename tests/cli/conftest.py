"""A small section on disk, settings that train in a moment, and the program itself."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData, read_h5ad
from anndata.tests.helpers import assert_equal
from PIL import Image

from histoquilt.cli import run
from histoquilt.datasets import toy_section, toy_slide
from histoquilt.io import split_sections

QUICK = {"n_pcs": 20}


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


@pytest.fixture(scope="session")
def _three() -> dict[str, AnnData]:
    serial = toy_section(n_spots=150, n_genes=100, n_domains=3, n_sections=3, seed=0)
    sections = split_sections(serial)
    for adata in sections.values():
        del adata.obs["section"], adata.obs["z_um"]
        adata.obs_names = [f"bc{i}" for i in range(adata.n_obs)]  # barcodes repeat between real sections
    return sections


@pytest.fixture
def three(_three: dict[str, AnnData]) -> dict[str, AnnData]:
    """Three serial sections, s1, s2 and s3, of 150 spots with the same names; no z. Fresh copies."""
    return {name: adata.copy() for name, adata in _three.items()}


@pytest.fixture
def three_files(three: dict[str, AnnData], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.h5ad" for name in three]
    for path, adata in zip(paths, three.values(), strict=True):
        adata.write_h5ad(path)
    return paths


@pytest.fixture
def samples(tmp_path: Path) -> Callable[..., Path]:
    """Write ``samples.csv`` from lines of text; return its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "samples.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A config file that takes little time."""
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
        assert lines[0].startswith("histoquilt: ")
        assert "Traceback" not in captured.err
        return lines[0]

    return refuse


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as a shell would."""

    def start(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "histoquilt", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **more)

    return start


@pytest.fixture(scope="session")
def _study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    whole, pixels = toy_slide(n_spots=240, n_genes=40, n_domains=3, seed=0, mpp=2)
    Image.fromarray(pixels).save(folder / "he.png")
    third = np.argsort(np.argsort(whole.obsm["spatial"][:, 0])) * 3 // whole.n_obs
    for number in range(3):
        adata = whole[third == number].copy()
        del adata.uns["spatial"]
        adata.write_h5ad(folder / f"s{number}.h5ad")
    rows = [f"s{number},s{number}.h5ad,he.png,p{number},2" for number in range(3)]
    (folder / "samples.csv").write_text("\n".join(["section,counts,image,patient,mpp", *rows]) + "\n")
    return folder


@pytest.fixture
def study_folder(_study_folder: Path, tmp_path: Path) -> Path:
    """Sections s0, s1 and s2 of patients p0, p1 and p2 on the image he.png, and their samples.csv; a fresh copy."""
    return shutil.copytree(_study_folder, tmp_path / "study")


@pytest.fixture(scope="session")
def _ridge_model(_study_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("trained") / "model"
    arguments = ["train", _study_folder / "samples.csv", "--method", "ridge", "--field-um", "100", "--out", model, "-q"]
    assert run([str(argument) for argument in arguments]) == 0
    return model


@pytest.fixture
def ridge_model(_ridge_model: Path, tmp_path: Path) -> Path:
    """A model folder trained on that study, with he_texture on fields of 100 um; a fresh copy."""
    return shutil.copytree(_ridge_model, tmp_path / "model")


@pytest.fixture(scope="session")
def same_results() -> Callable[[Path, Path], None]:
    """Assert that two results folders hold the same, times and the place they were written to apart."""

    def compare(one: Path, other: Path) -> None:
        names = sorted(path.name for path in one.iterdir())
        assert names == sorted(path.name for path in other.iterdir())
        for name in names:
            if name.endswith(".h5ad"):
                assert_equal(_timeless(one / name), _timeless(other / name), exact=True)
            elif name.endswith((".csv", ".png")):
                assert (one / name).read_bytes() == (other / name).read_bytes()
        assert _facts(one) == _facts(other)

    return compare


def _timeless(path: Path) -> AnnData:
    adata = read_h5ad(path)
    for record in ("spatial_factors", "spamask"):
        adata.uns["histoquilt"].get(record, {}).pop("wall_s", None)
    return adata


def _facts(folder: Path) -> dict[str, object]:
    facts = json.loads((folder / "run.json").read_text())
    times = {"started", "finished", "wall_s", "peak_rss_mb", "timings", "arguments"}
    facts["warnings"].sort()  # as workers finish
    return {key: value for key, value in facts.items() if key not in times}


class Worked(list):
    """Names of the inputs that were really worked on, in order; ``stops`` are raised in place of an input's work."""

    def __init__(self):
        self.stops = {}


@pytest.fixture
def watch(monkeypatch) -> Callable[..., Worked]:
    """Watch a module's function whose first argument is the item of the input."""

    def start(module, name: str) -> Worked:
        worked, real = Worked(), getattr(module, name)

        def watched(item, *arguments):
            worked.append(item.name)
            if item.name in worked.stops:
                raise worked.stops[item.name]
            return real(item, *arguments)

        monkeypatch.setattr(module, name, watched)
        return worked

    return start
