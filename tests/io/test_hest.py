"""Tasks of HEST-Bench: what is read, and what is refused."""

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.io import open_hest_patches, patch_digests, read_hest_section, read_hest_task

GENES = [f"GENE{number}" for number in range(6)]
NAMES = [f"AAC{number}-1" for number in range(5)]


def write_section(folder: Path, name: str, seed: int = 0, barcodes=None, **stored) -> None:
    """Five spots, 200 px apart on an image of 0.56 um per pixel, whose patches are 200 px wide."""
    rng = np.random.default_rng(seed)
    adata = AnnData(csr_matrix(rng.poisson(3.0, (5, 6)).astype(np.int32)), obs=pd.DataFrame(index=NAMES))
    adata.var_names = GENES
    adata.obsm["spatial"] = 500.0 + 200.0 * np.column_stack([np.arange(5), np.arange(5) % 2])
    (folder / "adata").mkdir(parents=True, exist_ok=True)
    (folder / "patches").mkdir(exist_ok=True)
    adata.write_h5ad(folder / "adata" / f"{name}.h5ad")
    known = [NAMES.index(one) if one in NAMES else 0 for one in (NAMES if barcodes is None else barcodes)]
    parts = {
        "img": rng.integers(0, 255, (len(known), 224, 224, 3), dtype=np.uint8),
        "coords": (adata.obsm["spatial"][known] - 100).astype(int),
        "barcode": np.array(NAMES if barcodes is None else barcodes, dtype="S")[:, None],
    } | stored
    with h5py.File(folder / "patches" / f"{name}.h5", "w") as opened:
        for key, value in parts.items():
            if value is not None:
                opened[key] = value


def write_split(folder: Path, number: int, train: list[str], test: list[str], end: str = "\n") -> None:
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    for side, names in (("train", train), ("test", test)):
        rows = [f"{name},patches/{name}.h5,adata/{name}.h5ad" for name in names]
        text = end.join(["sample_id,patches_path,expr_path", *rows]) + end
        (folder / "splits" / f"{side}_{number}.csv").write_bytes(text.encode())


@pytest.fixture
def task_folder(tmp_path) -> Path:
    folder = tmp_path / "TASK"
    for number, name in enumerate("abc"):
        write_section(folder, name, seed=number)
    write_split(folder, 0, ["b", "c"], ["a"])
    write_split(folder, 1, ["a", "c"], ["b"])
    (folder / "var_50genes.json").write_text(json.dumps({"genes": GENES[:4]}))
    return folder


def test_splits_and_genes_are_those_of_the_files(task_folder):
    task = read_hest_task(task_folder)
    assert (task.name, task.genes) == ("TASK", GENES[:4])
    assert task.splits == {"0": (["b", "c"], ["a"]), "1": (["a", "c"], ["b"])}
    assert set(task.counts) == set(task.patches) == {"a", "b", "c"}
    write_split(task_folder, 0, ["b", "c"], ["a"], end="\r\n")
    write_split(task_folder, 10, ["b"], ["a"])
    assert list(read_hest_task(task_folder).splits) == ["0", "1", "10"]


def test_spots_follow_their_patches(task_folder, caplog):
    barcodes = [NAMES[3], "TTT-1", NAMES[0], NAMES[4]]
    write_section(task_folder, "a", barcodes=barcodes)
    task = read_hest_task(task_folder)
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        adata = read_hest_section(task, "a")
    assert adata.obs_names.tolist() == [NAMES[3], NAMES[0], NAMES[4]]
    assert adata.obs["patch"].tolist() == [0, 2, 3]
    assert adata.uns["histoquilt"]["patches"] == {"n_without_patch": 2, "n_without_spot": 1}
    assert "a: 2 of 5 spots have no patch and are dropped; 1 of 4 patches are of no spot." in caplog.text
    assert adata.uns["histoquilt"]["coordinates"]["mpp"] == pytest.approx(0.56)  # 112 um on 200 px


@pytest.mark.parametrize(
    "barcodes",
    [np.array(NAMES, dtype="S"), np.array(NAMES, dtype="S")[:, None], np.array(NAMES, dtype=object),
     np.array([[name.encode()] for name in NAMES], dtype=object)],
    ids=["bytes", "column of bytes", "text", "column of variable length"],
)  # fmt: skip
def test_barcodes_are_read_as_they_are_stored(task_folder, barcodes):
    write_section(task_folder, "a", barcode=None)
    with h5py.File(task_folder / "patches" / "a.h5", "a") as opened:
        kind = None if barcodes.dtype.kind == "S" else h5py.string_dtype()
        opened.create_dataset("barcode", data=barcodes, dtype=kind)
    assert read_hest_section(read_hest_task(task_folder), "a").obs_names.tolist() == NAMES


def test_patients_come_from_the_file_or_the_metadata(task_folder):
    for folder, name, known in (
        (task_folder, "a", {"patient": "Patient 1", "dataset_title": "One study"}),
        (task_folder.parent, "b", {"patient": "Patient 1"}),
        (task_folder, "c", {"patient": None}),
    ):
        (folder / "metadata").mkdir(exist_ok=True)
        (folder / "metadata" / f"{name}.json").write_text(json.dumps(known))
    task = read_hest_task(task_folder)
    assert read_hest_section(task, "a").obs["patient"].unique().tolist() == ["One study: Patient 1"]
    assert read_hest_section(task, "b").obs["patient"].unique().tolist() == ["Patient 1"]
    assert "patient" not in read_hest_section(task, "c").obs


def test_unknown_corners_leave_microns_unknown(task_folder):
    write_section(task_folder, "a", coords=np.arange(10).reshape(5, 2) * 900)
    assert "mpp" not in read_hest_section(read_hest_task(task_folder), "a").uns["histoquilt"]["coordinates"]


def test_shared_patches_are_found_and_those_of_one_colour_are_not(task_folder):
    images = np.random.default_rng(9).integers(0, 255, (5, 224, 224, 3), dtype=np.uint8)
    images[4] = 255
    write_section(task_folder, "a", img=images)
    write_section(task_folder, "b", img=images[::-1])
    rows = np.arange(5)
    one, other = (patch_digests(task_folder / "patches" / f"{name}.h5", rows) for name in "ab")
    assert len(one & other) == 4
    assert len(patch_digests(task_folder / "patches" / "a.h5", np.array([1, 4]))) == 1
    with open_hest_patches(task_folder / "patches" / "a.h5") as patches:
        assert patches.shape == (5, 224, 224, 3)


def _edit(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda folder: [path.unlink() for path in (folder / "splits").iterdir()], ValueError, "holds no split"),
        (lambda folder: (folder / "splits" / "test_1.csv").unlink(), FileNotFoundError, "one side of a split"),
        (lambda folder: (folder / "var_50genes.json").unlink(), FileNotFoundError, "the genes of a HEST-Bench task"),
        (_edit("var_50genes.json", "[1]"), ValueError, "is not of the form"),
        (_edit("var_50genes.json", '{"genes": []}'), ValueError, "one or more names"),
        (_edit("var_50genes.json", '{"genes": ["A", "A"]}'), ValueError, "names genes twice: 'A'"),
        (_edit("splits/test_0.csv", "sample_id\na\n"), ValueError, "lacks the column.* 'patches_path', 'expr_path'"),
        (_edit("splits/test_0.csv", "sample_id,patches_path,expr_path\n"), ValueError, "one or more sections"),
        (lambda folder: (folder / "patches" / "b.h5").unlink(), FileNotFoundError, "the patches of section 'b'"),
        (lambda folder: (folder / "adata" / "c.h5ad").unlink(), FileNotFoundError, "the counts of section 'c'"),
        (lambda folder: write_split(folder, 1, ["a", "b"], ["b"]), ValueError, "Split 1 .* leaks: section.* 'b'"),
        (
            _edit("splits/test_1.csv", "sample_id,patches_path,expr_path\nb,patches/a.h5,adata/b.h5ad\n"),
            ValueError, "A section has one file",
        ),
    ],
)  # fmt: skip
def test_a_task_that_is_almost_right(task_folder, spoil, error, words):
    spoil(task_folder)
    with pytest.raises(error, match=words):
        read_hest_task(task_folder)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"barcodes": ["TTT-1"] * 1 + ["TTG-1"] * 1}, "No barcode of"),
        ({"barcodes": [NAMES[0], NAMES[0]]}, "barcodes twice"),
        ({"img": None}, "lacks 'img'"),
        ({"barcode": None}, "lacks 'barcode'"),
        ({"img": np.zeros((5, 112, 112, 3), np.uint8)}, "img must be uint8"),
        ({"img": np.zeros((5, 224, 224, 3), np.float32)}, "img must be uint8"),
        ({"coords": np.zeros((4, 2), int)}, "one of each is expected"),
        ({"barcode": np.array([NAMES, NAMES], dtype="S").T}, "one name for each patch"),
        ({"barcode": np.array([b"\xff\xfe"] * 5)}, r"a\.h5: barcode holds names that are not text"),
        ({"coords": np.full((5, 2), np.nan)}, r"a\.h5: coords must be corners in pixels, found float64"),
        ({"coords": np.full((5, 2), b"x")}, r"a\.h5: coords must be corners in pixels"),
        ({"img": None, "img/0": 1}, r"a\.h5: 'img' must be arrays, found groups"),
    ],
)
def test_patches_of_another_form(task_folder, stored, words):
    write_section(task_folder, "a", **stored)
    with pytest.raises(ValueError, match=words):
        read_hest_section(read_hest_task(task_folder), "a")


def test_tables_written_by_hand_or_on_windows(task_folder):
    for kind in ("adata/{}.h5ad", "patches/{}.h5"):
        (task_folder / kind.format("a")).rename(task_folder / kind.format("NA"))
    table = "sample_id, patches_path, expr_path\r\nNA , patches\\NA.h5, adata\\NA.h5ad\r\n"
    (task_folder / "splits" / "test_0.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    for path in (task_folder / "splits").glob("*_1.csv"):
        path.unlink()
    task = read_hest_task(task_folder)
    assert task.splits == {"0": (["b", "c"], ["NA"])}
    assert read_hest_section(task, "NA").n_obs == 5


def test_a_damaged_file_of_patches_is_named(task_folder):
    path = task_folder / "patches" / "a.h5"
    with h5py.File(path, "a") as opened:
        images = opened["img"][:]
        del opened["img"]
        stored = opened.create_dataset("img", data=images, compression="gzip", chunks=images.shape)
        chunk = stored.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a\.h5 is damaged: .* Copy or download it again"):
        patch_digests(path, np.arange(5))


def test_a_gene_that_was_not_measured(task_folder):
    (task_folder / "var_50genes.json").write_text('{"genes": ["GENE0", "NOGENE"]}')
    with pytest.raises(ValueError, match=r"lacks 1 of the 2 genes of var_50genes\.json: 'NOGENE'"):
        read_hest_section(read_hest_task(task_folder), "a")


def test_a_folder_that_is_no_task(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"var_50genes\.json"):
        read_hest_task(tmp_path)
