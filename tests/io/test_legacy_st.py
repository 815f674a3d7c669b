import gzip

import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad

import histoquilt as hq

SELECTION = """x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected
10\t13\t9.85\t12.99\t1923.65\t2622.15\t1
10\t14\t9.87\t14.01\t1926.69\t2844.32\t1
11\t13\t10.9\t13.0\t2140.0\t2620.0\t0
12\t13\t11.9\t13.0\t2360.0\t2621.0\t1
"""


@pytest.fixture
def st_folder(tmp_path):
    """Three spots, two of them selected; one selected spot has no counts; two genes share a name."""
    (tmp_path / "A1_selection.tsv").write_text(SELECTION)
    (tmp_path / "A1.tsv").write_text("\tSAMD11\tNOC2L\tNOC2L\n10x14\t1\t0\t2\n10x13\t0\t3\t5\n11x13\t1\t1\t1\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore:Names that several genes share")
@pytest.mark.parametrize("compressed", [False, True])
def test_spots_are_matched_by_array_position(st_folder, compressed):
    counts = st_folder / "A1.tsv"
    if compressed:
        (st_folder / "A1.tsv.gz").write_bytes(gzip.compress(counts.read_bytes()))
        counts = st_folder / "A1.tsv.gz"
    with pytest.warns(UserWarning, match=r"1 of 3 spots of A1.tsv.* are not selected as tissue .* and are left out"):
        adata = hq.io.read_legacy_st(counts)
    assert list(adata.obs_names) == ["10x14", "10x13"]
    np.testing.assert_array_equal(adata.X.toarray(), [[1, 0, 2], [0, 3, 5]])
    np.testing.assert_array_equal(adata.obsm["spatial"], [[1926.69, 2844.32], [1923.65, 2622.15]])
    np.testing.assert_array_equal(adata.obs["array_y"], [14, 13])
    np.testing.assert_array_equal(adata.obs["new_x"], [9.87, 9.85])
    assert list(adata.var_names) == ["SAMD11", "NOC2L", "NOC2L-1"]
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "pitch_um": 200.0}
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}


@pytest.mark.parametrize(
    "name",
    ["alignment_table_A1.tsv", "A1_alignment_table.tsv", "spot_data-selection-A1.tsv", "alignment_table_A1.tsv.gz"],
)
@pytest.mark.filterwarnings("ignore")
def test_other_names_of_the_selection(st_folder, name):
    (st_folder / "A1_selection.tsv").unlink()
    packed = gzip.compress(SELECTION.encode()) if name.endswith(".gz") else SELECTION.encode()
    (st_folder / name).write_bytes(packed)
    assert list(hq.io.read_section(st_folder / "A1.tsv").obs_names) == ["10x14", "10x13"]


def test_selection_missing(st_folder, tmp_path):
    (st_folder / "A1_selection.tsv").rename(st_folder / "elsewhere.tsv")
    with pytest.raises(FileNotFoundError, match=r"looked for A1_selection.tsv.*name it with selection="):
        hq.io.read_legacy_st(st_folder / "A1.tsv")
    with pytest.raises(FileNotFoundError, match=r"nowhere.tsv does not exist; expected a selection table"):
        hq.io.read_legacy_st(st_folder / "A1.tsv", selection=st_folder / "nowhere.tsv")
    with pytest.warns(UserWarning, match="left out|Names that several"):
        assert hq.io.read_legacy_st(st_folder / "A1.tsv", selection=st_folder / "elsewhere.tsv").n_obs == 2


def test_counts_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"A9.tsv does not exist; expected a legacy ST counts table"):
        hq.io.read_legacy_st(tmp_path / "A9.tsv")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("\t10x13\t10x14\nSAMD11\t1\t2\n", r"named like 'SAMD11'. Its columns are: it is genes x spots"),
        ("\tSAMD11\nAAAC-1\t1\n", r"rows should be named by array position, like '10x13', and are named like 'AAAC-1'"),
        ("\tSAMD11\n99x99\t1\n", r"No spot of A1.tsv \(named like '99x99'\) is in A1_selection.tsv"),
        ("\tSAMD11\n10x13\tmany\n", r"columns that are not numbers: 'SAMD11'"),
        ("\tSAMD11\n10x13\t0.5\n", r"A1.tsv looks log-transformed"),
        ("\tSAMD11\n10x13\t1\n10x13\t2\n", r"Spot names \(barcodes\) must be unique; repeated: '10x13'"),
        ("\tSAMD11\t\n10x13\t1\t2\n", r"1 of 2 genes have no name"),
        ("", r"A1.tsv could not be read as a table"),
    ],
)
def test_strange_counts(st_folder, table, words):
    (st_folder / "A1.tsv").write_text(table)
    with pytest.raises(ValueError, match=words):
        hq.io.read_legacy_st(st_folder / "A1.tsv")


def test_truncated_counts(st_folder, truncated):
    rows = "".join(
        f"10x{y}\t" + "\t".join(map(str, np.random.default_rng(y).integers(0, 9, 500))) + "\n" for y in range(99)
    )
    header = "\t" + "\t".join(f"G{i}" for i in range(500)) + "\n"
    (st_folder / "A1.tsv.gz").write_bytes(gzip.compress((header + rows).encode()))
    with pytest.raises(ValueError, match=r"A1.tsv.gz could not be read as a table \(truncated"):
        hq.io.read_legacy_st(truncated(st_folder / "A1.tsv.gz"))


def test_strange_selection(st_folder):
    selection = pd.read_csv(st_folder / "A1_selection.tsv", sep="\t")
    selection.drop(columns="pixel_x").to_csv(st_folder / "A1_selection.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match=r"is not a legacy ST selection: it lacks 'pixel_x'"):
        hq.io.read_legacy_st(st_folder / "A1.tsv")
    pd.concat([selection, selection]).to_csv(st_folder / "A1_selection.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match=r"lists spots more than once: '10x13'"):
        hq.io.read_legacy_st(st_folder / "A1.tsv")


@pytest.mark.real_data
def test_the_published_files_of_a1_agree_with_its_h5ad(data_dir):
    adata = hq.io.read_legacy_st(data_dir / "her2st" / "raw" / "A1.tsv.gz")
    truth = read_h5ad(data_dir / "her2st" / "A1.h5ad")
    truth.obs_names = truth.obs_names.str.removeprefix("A1_")
    assert set(adata.obs_names) == set(truth.obs_names)
    assert set(adata.var_names) == set(truth.var_names)
    truth = truth[adata.obs_names, adata.var_names]
    assert (adata.X != truth.X).nnz == 0
    np.testing.assert_array_equal(adata.obsm["spatial"], truth.obsm["spatial"])
    for column in ("array_x", "array_y", "new_x", "new_y"):
        np.testing.assert_array_equal(adata.obs[column], truth.obs[column])
    assert adata.uns["histoquilt"]["coordinates"]["mpp"] == pytest.approx(0.918, abs=0.002)
