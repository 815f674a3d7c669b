import numpy as np
import pytest
from anndata.tests.helpers import assert_equal

import histoquilt as hq
from histoquilt.io import _section

pytestmark = pytest.mark.filterwarnings("ignore:Names that several genes share")


def test_a_space_ranger_folder_and_the_one_above(visium_folder):
    assert hq.io.read_section(visium_folder).n_obs == 100
    assert hq.io.read_section(visium_folder.parent).n_obs == 100
    assert hq.io.read_section(str(visium_folder)).n_obs == 100


def test_an_h5ad_file(tmp_path, counts):
    hq.io.write_h5ad(counts[:, :59].copy(), tmp_path / "a.h5ad")
    assert hq.io.read_section(tmp_path / "a.h5ad").shape == (100, 59)


def test_half_a_space_ranger_folder_is_told_which_half_is_missing(visium_folder):
    (visium_folder / "filtered_feature_bc_matrix.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"looked for filtered_feature_bc_matrix.h5"):
        hq.io.read_section(visium_folder)


@pytest.mark.parametrize("above", [False, True])
def test_a_matrix_is_chosen_by_its_name(visium_folder, above):
    (visium_folder / "filtered_feature_bc_matrix.h5").rename(visium_folder / "raw_feature_bc_matrix.h5")
    folder = visium_folder.parent if above else visium_folder
    with pytest.raises(FileNotFoundError, match=r"to read it pass counts_file='raw_feature_bc_matrix.h5'"):
        hq.io.read_section(folder)
    assert hq.io.read_section(folder, counts_file="raw_feature_bc_matrix.h5").n_obs == 100


def test_nothing_there(tmp_path):
    (tmp_path / "near.h5ad").touch()
    with pytest.raises(FileNotFoundError, match=r"a.h5ad does not exist; expected an .h5ad file, .*holds: 'near.h5ad'"):
        hq.io.read_section(tmp_path / "a.h5ad")


def test_a_folder_that_is_nothing(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match=r"looked for an .h5ad file, a Space Ranger .*Xenium.*It holds: 'photos/'"):
        hq.io.read_section(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.rds", r"a.rds is not a section that can be read. It is an R object.*as an .h5ad"),
        ("a.RData", r"It is an R object"),
        ("a.loom", r"It is a Loom file. Add the positions"),
        ("a.gef", r"Stereo-seq expression file of SAW. Export it to .h5ad"),
        ("a.gem.gz", r"Stereo-seq expression table of SAW. Export it to .h5ad"),
        ("matrix.mtx.gz", r"count matrix without positions. Give the folder"),
        ("filtered_feature_bc_matrix.h5", r"For a 10x count matrix give its folder"),
        ("counts.csv", r"histoquilt.io.read_table\(counts, coordinates, unit=...\)"),
    ],
)
def test_files_of_other_kinds(tmp_path, name, words):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=words):
        hq.io.read_section(tmp_path / name)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("feature_expression/A.tissue.gef", r"output of SAW \(Stereo-seq\).*Export it to .h5ad"),
        ("outs/feature_expression/A.tissue.gef", r"output of SAW"),
        ("A.gem.gz", r"expression tables \(.gem\)"),
    ],
)
def test_folders_of_other_kinds(tmp_path, inside, words):
    (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).touch()
    with pytest.raises(ValueError, match=words):
        hq.io.read_section(tmp_path)


@pytest.mark.parametrize("name", ["a.zarr", "a"])
def test_an_anndata_zarr_is_read_as_an_h5ad(tmp_path, counts, name):
    counts = counts[:, :59].copy()
    counts.obsm["spatial"] = np.arange(200.0).reshape(100, 2)
    counts.write_zarr(tmp_path / name)
    counts.write_h5ad(tmp_path / "a.h5ad")
    assert_equal(hq.io.read_section(tmp_path / name), hq.io.read_section(tmp_path / "a.h5ad"))


@pytest.mark.real_data
def test_real_files(data_dir):
    assert hq.io.read_section(data_dir / "her2st" / "raw" / "A1.tsv.gz").n_obs == 346
    assert hq.io.read_section(data_dir / "dlpfc" / "151673.h5ad").n_obs == 3639
    with pytest.raises(FileNotFoundError, match=r"151673_spatial is not a Space Ranger output|no section"):
        hq.io.read_visium(data_dir / "dlpfc" / "151673_spatial")


@pytest.mark.parametrize("folder", ["run", "run/outs"])
def test_a_reader_of_another_package_is_asked_once(tmp_path, counts, monkeypatch, folder):
    asked = []

    class Reader:
        label = "my format"

        def recognises(self, path):
            asked.append(path)
            return (path / "mine.txt").exists()

        def read(self, path):
            return counts[:, :59].copy()

    monkeypatch.setattr(_section.READERS, "others", lambda: ["mine"])
    monkeypatch.setattr(_section.READERS, "load", lambda name: Reader())
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "mine.txt").touch()
    assert hq.io.read_section(tmp_path / "run").shape == (100, 59)
    assert asked == [tmp_path / folder]
