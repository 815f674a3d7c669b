"""Fixtures that several rooms share."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from anndata.tests.helpers import assert_equal
from PIL import Image
from scipy.sparse import csr_matrix

from histoquilt.cli import run
from histoquilt.datasets import toy_section, toy_slide
from histoquilt.im.encoders import _he_texture
from histoquilt.io import split_sections
from histoquilt.runtime._dask import connect
from histoquilt.runtime._workers import Workers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the JUnit file tell tests on real tissue apart, so that CI can count them; start with files of slow tests.

    A worker takes a whole file at a time: a long one at the end would keep the others waiting.
    """
    slow = set()
    for item in items:
        if item.get_closest_marker("real_data"):
            item.user_properties.append(("marker", "real_data"))
        if item.get_closest_marker("slow") or item.get_closest_marker("real_data"):
            slow.add(item.path)
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real tissue, or a skip that says what to set."""
    folder = os.environ.get("HISTOQUILT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real tissue is absent: set HISTOQUILT_DATA to the folder that holds dlpfc/, her2st/, starmap/")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def her2st_half(data_dir: Path) -> Callable[[str], tuple[AnnData, np.ndarray]]:
    """Read a section of HER2ST and its image at half size, in a fraction of the time; coordinates are its pixels."""

    def read(name: str) -> tuple[AnnData, np.ndarray]:
        adata = read_h5ad(data_dir / "her2st" / f"{name}.h5ad")
        with Image.open(data_dir / "her2st" / f"{name}.jpg") as image:
            image.draft("RGB", (image.width // 2, image.height // 2))
            pixels = np.asarray(image)
        adata.obsm["spatial"] = adata.obsm["spatial"] / 2
        return adata, pixels

    return read


@pytest.fixture(scope="session", autouse=True)
def patches_described_once() -> Iterator[None]:
    """Remember what he_texture says of patches: many tests embed the same toy images (not those of the encoder)."""
    known: dict[bytes, np.ndarray] = {}
    describe = _he_texture._describe

    def remembered(patches: np.ndarray) -> np.ndarray:
        key = hashlib.blake2b(np.ascontiguousarray(patches)).digest()
        if key not in known:
            known[key] = describe(patches)
        return known[key].copy()

    remembered.forgetful = describe
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_he_texture, "_describe", remembered)
        yield


@pytest.fixture
def written_section() -> Callable[..., AnnData]:
    """Make a section that carries everything ``tl`` writes, from numpy alone, for rooms that only read AnnData."""
    return _written_section


def _written_section(*, n_side: int = 12, n_domains: int = 4, image: bool = True, name: str = "S1") -> AnnData:
    """Stripes of domains on a square grid of ``n_side ** 2`` spots, pitch 50 pixels of 2 microns.

    Gene i marks stripe i. The image is 1/10 of the coordinates. Spot 0 has no domain.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.divmod(np.arange(n_side**2), n_side)
    domain = columns * n_domains // n_side
    genes = range(n_domains + 2)
    rate = np.full((n_side**2, n_domains + 2), 1.0)
    rate[np.arange(n_side**2), domain] = 9.0
    counts = rng.poisson(rate).astype(np.float32)
    names = [str(i + 1) for i in range(n_domains)]
    adata = AnnData(
        csr_matrix(counts),
        obs=pd.DataFrame(index=[f"spot{i}-1" for i in range(n_side**2)]),
        var=pd.DataFrame(
            {"gene_symbol": [f"SYM{i}" for i in genes]},
            index=[f"ENSG{i:011}" for i in genes],
        ),
    )
    codes = domain.copy()
    codes[0] = -1
    adata.obs["domain"] = pd.Categorical.from_codes(codes, categories=names)
    adata.obs["domain_confidence"] = rng.uniform(0.4, 1.0, adata.n_obs)
    adata.obs["section"] = pd.Categorical([name] * adata.n_obs)
    adata.obsm["spatial"] = np.column_stack([200 + 50 * columns, 100 + 50 * rows]).astype(float)
    adata.obsm["X_umap"] = np.column_stack([domain, rows]) + rng.normal(0, 0.2, (adata.n_obs, 2))
    cp10k = 1e4 * rate / rate.sum(axis=1, keepdims=True)
    adata.obsm["denoised"] = pd.DataFrame(np.log1p(cp10k), index=adata.obs_names, columns=adata.var_names)
    if image:
        pixels = rng.integers(180, 230, (80, 90, 3), dtype=np.uint8)
        factors = {"tissue_lowres_scalef": 0.1, "tissue_hires_scalef": 0.3, "spot_diameter_fullres": 27.5}
        adata.uns["spatial"] = {name: {"images": {"lowres": pixels}, "scalefactors": factors}}
    markers = [
        (names[d], adata.var_names[g], f"SYM{g}", 5.0 - rank, 2.0, 1e-6, 0.99, 0.6)
        for d in range(n_domains)
        for rank, g in enumerate([d, n_domains])
    ]
    columns_of = ["domain", "gene", "symbol", "score", "log2_fold_change", "p_adjusted", "share_in", "share_out"]
    adata.uns["domain_markers"] = pd.DataFrame(markers, columns=columns_of)
    epochs = np.arange(1, 11)
    change = np.r_[np.nan, 1.0 / epochs[1:] ** 2]  # the first epoch has nothing to compare with
    history = pd.DataFrame({"run": 0, "epoch": epochs, "loss": 2.0 / epochs, "feature_loss": 1.0 / epochs})
    history = history.assign(edge_loss=1.0 / epochs, embedding_change=change)
    adata.uns["histoquilt"] = {
        "scale": {"X": "counts", "denoised": "log1p_cp10k"},
        "coordinates": {"unit": "pixel", "mpp": 2.0, "pitch_um": 100.0},
        "spamask": {"version": "0.1.0", "seed": 3, "config": {"n_latent": 16}, "features": {"kind": "pca"},
                    "n_epochs": 10, "stopped": "converged", "wall_s": 1.5, "history": history},
        "domain": {"n_domains": n_domains, "method": "eee", "seed": 3, "refined": True},
    }  # fmt: skip
    return adata


@pytest.fixture
def predicted_section() -> Callable[..., AnnData]:
    """Make what the ``predict`` of an expression model returns, from numpy alone."""
    return _predicted_section


def _predicted_section(*, n_side: int = 12, n_genes: int = 6, measured: bool = True, name: str = "S1") -> AnnData:
    """Genes on a square grid of ``n_side ** 2`` spots, pitch 50 pixels of 2 microns; spots 0-13 are unlike training.

    Gene i is predicted with noise of its own: the last ones are told worst. The most reliable is the second; the last
    has no reliability, and the first is predicted the same everywhere.
    """
    rng = np.random.default_rng(1)
    n_spots = n_side**2
    rows, columns = np.divmod(np.arange(n_spots), n_side)
    pattern = np.sin(columns[:, None] / 3 + np.arange(n_genes)) + rows[:, None] / n_side
    truth = (2 + pattern + rng.normal(0, 0.1, (n_spots, n_genes))).astype(np.float32)
    guess = (2 + pattern / 2 + rng.normal(0, 0.1, (n_spots, n_genes)) * np.arange(n_genes)).astype(np.float32)
    guess[:, 0] = 2.0
    reliability = np.r_[0.1, np.linspace(0.8, 0.2, n_genes - 2), np.nan]
    score = np.where(np.arange(n_spots) < 14, 1.5, 0.4)
    layers = {"predicted_ridge": np.maximum(guess, 0)} | ({"measured_log1p_cp10k": truth} if measured else {})
    centres = np.column_stack([200 + 50 * columns, 100 + 50 * rows]).astype(float)
    return AnnData(
        obs=pd.DataFrame(
            {"section": name, "out_of_distribution": score > 1, "out_of_distribution_score": score},
            index=[f"spot{i}" for i in range(n_spots)],
        ),
        var=pd.DataFrame(
            {"gene_symbol": [f"SYM{i}" for i in range(n_genes)], "reliability": reliability,
             "beats_mean": np.nan_to_num(reliability) > 0.3},
            index=[f"ENSG{i:011}" for i in range(n_genes)],
        ),
        layers=layers,
        obsm={"spatial": centres, "spatial_px": centres, "spatial_um": centres * 2},
        uns={"histoquilt": {
            "scale": dict.fromkeys(layers, "log1p_cp10k"),
            "coordinates": {"unit": "pixel", "mpp": 2.0, "pitch_um": 100.0},
            "prediction": {"method": "ridge", "layer": "predicted_ridge", "section": name, "trained_on": "a, b",
                           "section_out_of_distribution_score": 0.6, "transfers": True},
        }},
    )  # fmt: skip


@pytest.fixture
def shared_covariance() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Draw Gaussians that share one full covariance: ``(n, 3)`` points and their labels."""
    return draw_shared_covariance


def draw_shared_covariance(n: int = 600, apart: float = 8.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    covariance = np.array([[4.0, 1.8, 0.0], [1.8, 1.0, 0.0], [0.0, 0.0, 0.3]])
    means = apart * np.array([[0, 0, 0], [0.2, 0.6, 0], [0, 0, 0.5], [-0.8, 0.6, 0.2]])
    labels = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    return means[labels] + rng.multivariate_normal(np.zeros(3), covariance, n), labels


@pytest.fixture(scope="session")
def torchvision_operators() -> Iterator[None]:
    """Register the two operator schemas without which torchvision does not import beside the CPU build of torch."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    pytest.importorskip("timm", reason="the timm extra is not installed")
    yield
    del library


@pytest.fixture(scope="session")
def dask_address() -> Iterator[str]:
    """Two processes of one thread each behind a Dask scheduler; its address."""
    import dask
    from distributed import LocalCluster

    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), LocalCluster(**options) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def dask_workers(dask_address: str) -> Iterator[Workers]:
    """The workers of that cluster."""
    with connect(dask_address) as workers:
        yield workers


# --- of jobs and commands: small files, settings that train in a moment, and the program itself --------------------

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
    for record in ("shared_factors", "spatial_factors", "spamask"):
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
