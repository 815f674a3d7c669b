import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy.sparse import csc_matrix, csr_matrix

import histoquilt as hq
from histoquilt.io._h5ad import matrix_bytes


@pytest.fixture
def section() -> AnnData:
    rng = np.random.default_rng(0)
    spots = [f"spot{i}" for i in range(30)]
    denoised = pd.DataFrame(rng.random((30, 2)), index=spots, columns=["GENE0", "GENE1"])
    return AnnData(
        csr_matrix(rng.poisson(1.0, (30, 12)).astype(np.float32)),
        obs=pd.DataFrame({"note": ["a", "b"] * 15}, index=spots),
        var=pd.DataFrame(index=[f"GENE{i}" for i in range(12)]),
        obsm={"spatial": rng.random((30, 2)), "denoised": denoised},
    )


def test_what_is_written_is_read(tmp_path, section):
    hq.io.record_coordinates(section, "micron")
    before = section.obs.dtypes.copy()
    hq.io.write_h5ad(section, tmp_path / "new" / "one.h5ad")
    assert (section.obs.dtypes == before).all()  # the caller's object is not touched
    back = hq.io.read_h5ad(tmp_path / "new" / "one.h5ad")
    assert (back.X != section.X).nnz == 0
    np.testing.assert_array_equal(back.obsm["spatial"], section.obsm["spatial"])
    pd.testing.assert_frame_equal(
        back.obsm["denoised"], section.obsm["denoised"], check_index_type=False, check_column_type=False
    )
    assert list(back.obs["note"]) == list(section.obs["note"])
    assert back.uns["histoquilt"]["coordinates"] == {"unit": "micron"}
    assert "scale" not in back.uns["histoquilt"]  # nobody declared one
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "one.h5ad"]


@pytest.mark.parametrize("n_columns", [2, 5000])
@pytest.mark.parametrize("kind", ["float32", "int64", "bool"])
def test_a_wide_table_is_the_one_that_anndata_writes(section, tmp_path, n_columns, kind):
    values = np.random.default_rng(1).integers(0, 2, (30, n_columns)).astype(kind)
    table = pd.DataFrame(values, index=section.obs_names, columns=[f"G{i}" for i in range(n_columns)])
    section.obsm["wide"] = table
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    back = read_h5ad(tmp_path / "a.h5ad").obsm["wide"]
    pd.testing.assert_frame_equal(back, table, check_index_type=False, check_column_type=False)
    if n_columns > 4095:
        return  # anndata itself cannot
    AnnData(obs=section.obs[[]], obsm={"wide": table}).write_h5ad(tmp_path / "b.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as ours, h5py.File(tmp_path / "b.h5ad") as theirs:
        one, other = ours["obsm/wide"], theirs["obsm/wide"]
        assert list(one) == list(other)
        for name in (None, *one):
            found, expected = (dict(here.attrs if name is None else here[name].attrs) for here in (one, other))
            assert {key: np.array_equal(found[key], expected[key]) for key in expected} == dict.fromkeys(expected, True)
            assert set(found) == set(expected)
            assert name is None or one[name].dtype == other[name].dtype


def test_text_with_gaps_is_written_and_the_section_stays_as_it_was(tmp_path, section):
    section.obs["label"] = np.array(["tumour", np.nan, None] * 10, dtype=object)
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    back = hq.io.read_h5ad(tmp_path / "a.h5ad")
    assert list(back.obs["label"].isna()) == [False, True, True] * 10
    assert back.obs["label"].iloc[0] == "tumour"
    assert not isinstance(section.obs["label"].dtype, pd.CategoricalDtype)


def test_the_unit_is_declared_only_where_the_file_tells(tmp_path, section):
    section.write_h5ad(tmp_path / "a.h5ad")
    assert hq.io.read_h5ad(tmp_path / "a.h5ad").uns["histoquilt"]["coordinates"] == {"unit": "unknown"}
    section.uns["spatial"] = {"lib": {"images": {}, "scalefactors": {"tissue_hires_scalef": 0.1}}}
    section.write_h5ad(tmp_path / "b.h5ad")
    assert hq.io.read_h5ad(tmp_path / "b.h5ad").uns["histoquilt"]["coordinates"] == {"unit": "pixel"}
    del section.obsm["spatial"]
    section.write_h5ad(tmp_path / "c.h5ad")
    assert "coordinates" not in hq.io.read_h5ad(tmp_path / "c.h5ad").uns["histoquilt"]


def test_reading_h5ad_does_not_import_scanpy(tmp_path, section):
    section.write_h5ad(tmp_path / "a.h5ad")
    script = "import sys, histoquilt as hq; hq.io.read_h5ad(sys.argv[1]); print('scanpy' in sys.modules)"
    command = [sys.executable, "-c", script, tmp_path / "a.h5ad"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_missing_file(tmp_path):
    (tmp_path / "other.h5ad").touch()
    with pytest.raises(FileNotFoundError, match=r"a.h5ad does not exist; expected an .h5ad file.*holds: 'other.h5ad'"):
        hq.io.read_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(FileNotFoundError, match=r"is a folder; expected an .h5ad file"):
        hq.io.read_h5ad(tmp_path)


def test_truncated_file(tmp_path, section, truncated):
    section.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(OSError, match=r"a.h5ad is truncated .*the end of the file is missing. Copy or download it"):
        hq.io.read_h5ad(truncated(tmp_path / "a.h5ad"))


def test_damaged_file(tmp_path, section):
    """The size is right, but a compressed block of the matrix is overwritten."""
    path = tmp_path / "a.h5ad"
    hq.io.write_h5ad(section, path)
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\x00" * chunk.size)
    with pytest.raises((OSError, ValueError), match=r"a.h5ad (is damaged|could not be read as an AnnData)"):
        hq.io.read_h5ad(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"a,b\n1,2\n", "is not an HDF5 file"),
        (b"\x1f\x8b..", "gzip-compressed"),
        (b"PK..", "zip archive"),
    ],
)
def test_not_hdf5(tmp_path, content, words):
    (tmp_path / "a.h5ad").write_bytes(content)
    with pytest.raises(OSError, match=words):
        hq.io.read_h5ad(tmp_path / "a.h5ad")


def test_hdf5_but_no_anndata(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file["matrix"] = 1
    with pytest.raises(ValueError, match=r"not an AnnData: it has no obs and var \(found: 'matrix'\)"):
        hq.io.read_h5ad(tmp_path / "a.h5ad")


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_duplicated_barcodes(tmp_path, section):
    section.obs_names = ["same", "same", *section.obs_names[2:]]
    del section.obsm["denoised"]
    section.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match=r"Spot names \(barcodes\) must be unique; repeated: 'same'"):
        hq.io.read_h5ad(tmp_path / "a.h5ad")


def test_genes_without_names(tmp_path, section):
    section.var_names = ["", *section.var_names[1:]]
    section.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match=r"1 of 12 genes have no name"):
        hq.io.read_h5ad(tmp_path / "a.h5ad")


def test_read_only_folder(section):
    """As an ordinary user even where the tests run as root, for whom no folder is read-only."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"is read-only for you: a.h5ad was not written. Choose another"):
            hq.io.write_h5ad(section, folder / "a.h5ad")
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_file_where_the_folder_should_be(tmp_path, section):
    (tmp_path / "out").touch()
    with pytest.raises(NotADirectoryError, match=r"out is not a folder: a.h5ad cannot be written into it"):
        hq.io.write_h5ad(section, tmp_path / "out" / "a.h5ad")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a small disk can only be mounted as root; the test with a size limit ran instead")
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk(small_disk):
    small_disk.joinpath("a.h5ad").write_text("an earlier result")
    large = AnnData(np.random.default_rng(0).random((700, 1000), dtype=np.float32))  # noise does not compress
    with pytest.raises(OSError, match=r"The disk is full: .*a.h5ad could not be written .*free some space") as caught:
        hq.io.write_h5ad(large, small_disk / "a.h5ad")
    assert caught.value.errno == errno.ENOSPC
    assert [item.name for item in small_disk.iterdir()] == ["a.h5ad"]
    assert (small_disk / "a.h5ad").read_text() == "an earlier result"


BREAK_OFF = """
import resource, signal, sys
import numpy as np, histoquilt as hq
from anndata import AnnData
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    hq.io.write_h5ad(AnnData(np.random.default_rng(0).random((700, 1000), dtype=np.float32)), sys.argv[1])
except OSError as error:
    print(error.errno, error, file=sys.stderr)
    sys.exit(2)
"""


def test_a_write_that_breaks_off_leaves_one_line_and_no_file(tmp_path):
    """A limit on file size makes the same calls fail as a full disk does; h5py then raises several errors."""
    command = [sys.executable, "-c", BREAK_OFF, tmp_path / "a.h5ad"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"{errno.ENOSPC} [Errno {errno.ENOSPC}] The disk is full: ")
    assert "Nothing half-written was kept" in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_large_section_is_only_begun_where_it_fits(tmp_path, section, monkeypatch):
    monkeypatch.setattr("histoquilt.io._h5ad._LARGE_BYTES", 0)
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")  # straight to disk
    assert (hq.io.read_h5ad(tmp_path / "a.h5ad").X != section.X).nnz == 0
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=r"The disk is full: .*b.h5ad"):
        hq.io.write_h5ad(section, tmp_path / "b.h5ad")
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.fixture
def backed(tmp_path, section) -> AnnData:
    section.raw = section
    section.X = csr_matrix(section.X) * 2
    section.obs["label"] = np.array(["tumour", np.nan, None] * 10, dtype=object)
    hq.io.write_h5ad(section, tmp_path / "first.h5ad")
    return hq.io.read_h5ad(tmp_path / "first.h5ad", backed=True)


def test_a_backed_section_is_written_with_its_counts(tmp_path, backed, section):
    backed.obs["domain"] = pd.Categorical(["1", "2"] * 15)
    backed.obs["found"] = np.array(["x", None] * 15, dtype=object)
    backed.obsm["X_new"] = np.ones((30, 3), np.float32)
    hq.io.write_h5ad(backed, tmp_path / "second.h5ad")
    assert backed.isbacked
    back = hq.io.read_h5ad(tmp_path / "second.h5ad")
    assert (back.X != section.X).nnz == 0
    assert (back.raw.X != section.raw.X).nnz == 0
    assert back.obs["domain"].tolist() == ["1", "2"] * 15
    assert back.obs["label"].isna().sum() == 20
    np.testing.assert_array_equal(back.obsm["X_new"], 1)
    np.testing.assert_array_equal(back.obsm["spatial"], section.obsm["spatial"])


def test_a_part_of_a_backed_section_is_not_written(tmp_path, backed):
    with pytest.raises(ValueError, match=r"Read the part into memory first \(\.to_memory\(\)\)"):
        hq.io.write_h5ad(backed[:5], tmp_path / "part.h5ad")
    assert not (tmp_path / "part.h5ad").exists()


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix, np.asarray], ids=["csr", "csc", "dense"])
def test_what_counts_take_in_memory(tmp_path, form):
    counts = np.arange(12, dtype=np.float32).reshape(3, 4)
    AnnData(form(counts)).write_h5ad(tmp_path / "a.h5ad")
    sizes = {csr_matrix: 11 * 8 + 4 * 4, csc_matrix: 0, np.asarray: 48}
    assert matrix_bytes(tmp_path / "a.h5ad") == sizes[form]


def test_a_file_written_under_the_earlier_name(tmp_path, section):
    section.uns["histoweave"] = {
        "coordinates": {"unit": "pixel", "mpp": 0.5},
        "scale": {"X": "counts"},
        "written": {"obs": {"domain": True}},
    }
    section.uns.pop("histoquilt", None)
    section.obs["domain"] = "1"
    section.write_h5ad(tmp_path / "old.h5ad")
    for backed in (False, True):
        read = hq.io.read_h5ad(tmp_path / "old.h5ad", backed=backed)
        assert "histoweave" not in read.uns
        assert read.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": 0.5}
        assert read.uns["histoquilt"]["scale"] == {"X": "counts"}
        assert read.uns["histoquilt"]["written"]["obs"]["domain"]
