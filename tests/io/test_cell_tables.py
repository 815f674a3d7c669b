"""MERSCOPE and CosMx as tables: joined by the names of cells, whatever the files are called and however they lie."""

import gzip
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.io.instruments import _cell_tables
from histoquilt.io.instruments._platforms import recognise_platform

GENES = [f"GENE{i}" for i in range(6)]


@pytest.fixture
def truth():
    """24 cells: counts, and positions that differ from each other."""
    rng = np.random.default_rng(0)
    return rng.poisson(3.0, (24, 6)), rng.random((24, 2)).round(6) * 1000


def check(adata, truth, names, unit):
    counts, places = truth
    of = dict(zip(names, range(len(names)), strict=True))
    rows = [of[name] for name in adata.obs_names]
    assert sorted(rows) == list(range(len(names)))
    np.testing.assert_array_equal(adata.X.toarray(), counts[rows])
    np.testing.assert_allclose(adata.obsm["spatial"], places[rows])
    assert list(adata.var_names) == GENES
    assert adata.X.dtype == np.float32
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}
    assert adata.uns["histoquilt"]["coordinates"]["unit"] == unit


# ---- MERSCOPE


def merscope_ids():
    return [str(2 * 10**18 + 101 * i) for i in range(24)]


def write_merscope(
    folder, truth, *, shuffle=False, names="{}", ids=("cell", "EntityID"), ending=".csv", blanks=True, numbers=None
):
    folder.mkdir(parents=True, exist_ok=True)
    counts = pd.DataFrame(truth[0], columns=GENES)
    if blanks:
        counts["Blank-1"], counts["blank-20"] = 1, 2
    numbers = merscope_ids() if numbers is None else numbers
    counts.insert(0, ids[0], numbers)
    cells = pd.DataFrame(truth[1], columns=["center_x", "center_y"]).assign(fov=0, volume=500.0)
    cells.insert(0, ids[1], numbers)
    if shuffle:
        cells = cells.sample(frac=1, random_state=0)
    counts.to_csv(folder / (names.format("cell_by_gene") + ending), index=False)
    cells.to_csv(folder / (names.format("cell_metadata") + ending), index=False)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shuffle": True},
        {"shuffle": True, "names": "HumanOvarianCancerPatient2Slice2_{}"},
        {"shuffle": True, "names": "{}_S1R1"},
        {"shuffle": True, "names": "GSM1_mouse_{}", "ending": ".csv.gz"},
        {"shuffle": True, "ids": ("", "")},
        {"shuffle": True, "ids": ("cell_id", "")},
        {"shuffle": True, "ids": ("cell", "cell")},
        {"shuffle": True, "blanks": False},
    ],
)
def test_merscope(tmp_path, truth, changes, monkeypatch):
    monkeypatch.setattr(_cell_tables, "_CHUNK_VALUES", 50)  # several chunks
    folder = write_merscope(tmp_path / "run" / "region_0", truth, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adata = hq.io.read_section(folder)
    check(adata, truth, merscope_ids(), "micron")
    assert list(adata.obs_names) == merscope_ids()  # in the order of the counts
    assert set(adata.obs["region"]) == {"region_0"}
    if changes.get("blanks", True):
        assert list(adata.obsm["controls"].columns) == ["Blank-1", "blank-20"]
        assert (adata.obsm["controls"].to_numpy() == [1, 2]).all()
    hq.io.write_h5ad(adata, tmp_path / "written.h5ad")


def test_merscope_saved_again_with_a_row_number(tmp_path, truth):
    folder = write_merscope(tmp_path / "run", truth, shuffle=True)
    for path in folder.iterdir():
        pd.read_csv(path, dtype=str).to_csv(path)
    check(hq.io.read_section(folder), truth, merscope_ids(), "micron")


def test_merscope_cells_in_one_table_only_are_left_out(tmp_path, truth):
    folder = write_merscope(tmp_path / "run", truth, shuffle=True)
    cells = pd.read_csv(folder / "cell_metadata.csv", dtype={"EntityID": str})
    cells[cells["EntityID"] != merscope_ids()[3]].to_csv(folder / "cell_metadata.csv", index=False)
    kept = np.delete(np.arange(24), 3)
    names = [merscope_ids()[i] for i in kept]
    check(hq.io.read_section(folder), (truth[0][kept], truth[1][kept]), names, "micron")


def test_merscope_that_cannot_be_joined(tmp_path, truth):
    folder = write_merscope(tmp_path / "run", truth)
    whole = pd.read_csv(folder / "cell_metadata.csv", dtype={"EntityID": str})
    whole.assign(EntityID="2e18").to_csv(folder / "cell_metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"No cell of cell_by_gene.csv \(named like '20.* cell_metadata.csv .*'2e18'"):
        hq.io.read_section(folder)
    whole.drop(columns="EntityID").to_csv(folder / "cell_metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"no columns in common that name the cells .*'EntityID'.*Found:"):
        hq.io.read_section(folder)
    pd.concat([whole, whole[:2]]).to_csv(folder / "cell_metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"cell_metadata.csv lists cells more than once: '20"):
        hq.io.read_section(folder)
    whole.drop(columns="center_y").to_csv(folder / "cell_metadata.csv", index=False)
    with pytest.raises(ValueError, match=r"cell_metadata.csv has no 'center_y' \(found: 'EntityID'"):
        hq.io.read_section(folder)
    (folder / "cell_metadata.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"is not a complete MERSCOPE output: it has no cell_metadata.csv or .csv.gz"
    ):
        hq.io.read_section(folder)


def test_two_regions_in_one_folder(tmp_path, truth):
    folder = write_merscope(tmp_path / "run", truth, names="a_{}", shuffle=True)
    other = (truth[0][::-1], truth[1][::-1])
    write_merscope(folder, other, names="b_{}")
    with pytest.raises(ValueError, match=r"several MERSCOPE outputs: 'a_cell_by_gene.csv', 'b_.*counts_file="):
        hq.io.read_section(folder)
    check(hq.io.read_section(folder, counts_file="b_cell_by_gene.csv"), other, merscope_ids(), "micron")
    with pytest.raises(FileNotFoundError, match=r"has no 'c.csv' \(counts_file=\)"):
        hq.io.read_section(folder, counts_file="c.csv")


def test_damaged_counts(tmp_path, truth):
    folder = write_merscope(tmp_path / "run", truth, ending=".csv.gz")
    counts = folder / "cell_by_gene.csv.gz"
    whole = counts.read_bytes()
    counts.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cell_by_gene.csv.gz could not be read as a table \(truncated"):
        hq.io.read_section(folder)
    table = gzip.decompress(whole).decode().splitlines()
    for bad, words in (("", "has no number for some cells in column 'GENE0'"), ("many", "something else than counts")):
        cells = table[-1].split(",")
        cells[1] = bad
        counts.write_bytes(gzip.compress("\n".join([*table[:-1], ",".join(cells)]).encode()))
        with pytest.raises(ValueError, match=words):
            hq.io.read_section(folder)


# ---- CosMx

FOV = np.repeat([1, 2], 12)
NUMBER = np.tile(np.arange(1, 13), 2)
COSMX = [f"{number}_{fov}" for fov, number in zip(FOV, NUMBER, strict=True)]
LONG = [f"c_1_{fov}_{number}" for fov, number in zip(FOV, NUMBER, strict=True)]


def write_cosmx(folder, truth, *, counts_ids=("fov", "cell_ID"), cells_ids=("fov", "cell_ID"), **options):
    """The flat files, with a row of background for each field and other columns that exports have."""
    folder.mkdir(parents=True)
    columns = {"fov": FOV, "cell_ID": NUMBER, "cell": LONG, "cell_id": LONG}
    background = {"fov": [1, 2], "cell_ID": [0, 0], "cell": ["c_1_1_0", "c_1_2_0"], "cell_id": ["c_1_1_0", "c_1_2_0"]}
    counts = pd.DataFrame({name: columns[name] for name in counts_ids} | dict(zip(GENES, truth[0].T, strict=True)))
    counts["NegPrb1"] = counts["SystemControl2"] = 1
    glass = pd.DataFrame({name: background[name] for name in counts_ids} | dict.fromkeys(GENES, 99))
    counts = pd.concat([glass.assign(NegPrb1=7, SystemControl2=7), counts])
    cells = pd.DataFrame({name: columns[name] for name in cells_ids}).assign(Area=100)
    cells["CenterX_local_px"], cells["CenterY_local_px"] = truth[1].T / 3
    cells["CenterX_global_px"], cells["CenterY_global_px"] = truth[1].T
    for column in options.get("extra", ()):
        cells[column] = "text"
    cells = cells.sample(frac=1, random_state=0)
    ending, name = options.get("ending", ".csv"), options.get("name", "S1_{}_file")
    counts.to_csv(folder / (name.format("exprMat") + ending), index=False)
    cells.to_csv(folder / (name.format("metadata") + ending), index=False)
    return folder


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, COSMX),
        ({"counts_ids": ("fov", "cell_ID", "cell")}, COSMX),
        ({"cells_ids": ("fov", "cell_ID", "cell_id")}, COSMX),
        ({"counts_ids": ("fov", "cell_ID", "cell"), "cells_ids": ("cell", "cell_ID", "fov", "cell_id")}, COSMX),
        ({"ending": ".csv.gz", "extra": ("slide_ID", "Run_Tissue_name")}, COSMX),
        ({"name": "GSM1_lung_{}_file"}, COSMX),
        ({"name": "{}_file"}, COSMX),
        ({"counts_ids": ("cell",), "cells_ids": ("cell",)}, LONG),
        ({"counts_ids": ("cell", "fov"), "cells_ids": ("fov", "cell_ID", "cell_id")}, LONG),
        ({"counts_ids": ("fov", "cell"), "cells_ids": ("fov", "cell_ID", "cell")}, LONG),
    ],
)
def test_cosmx(tmp_path, truth, changes, names, monkeypatch):
    monkeypatch.setattr(_cell_tables, "_CHUNK_VALUES", 50)
    folder = write_cosmx(tmp_path / "run", truth, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adata = hq.io.read_section(folder)
    check(adata, truth, names, "pixel")
    assert list(adata.obsm["controls"].columns) == ["NegPrb1", "SystemControl2"]
    assert (adata.obsm["controls"] == 1).all(axis=None)
    hq.io.write_h5ad(adata, tmp_path / "written.h5ad")


def test_cosmx_in_millimetres(tmp_path, truth):
    folder = write_cosmx(tmp_path / "run", truth)
    cells = pd.read_csv(folder / "S1_metadata_file.csv")
    x, y = cells.pop("CenterX_global_px"), cells.pop("CenterY_global_px")
    cells.to_csv(folder / "S1_metadata_file.csv", index=False)
    with pytest.raises(FileNotFoundError, match=r"has positions in the fields of view only"):
        hq.io.read_section(folder)
    nowhere = cells.drop(columns=["CenterX_local_px", "CenterY_local_px"])
    nowhere.to_csv(folder / "S1_metadata_file.csv", index=False)
    with pytest.raises(ValueError, match=r"no positions on the slide \(looked for: 'CenterX_global_px .*Found: 'fov'"):
        hq.io.read_section(folder)
    cells.assign(x_slide_mm=x / 1000, y_slide_mm=y / 1000).to_csv(folder / "S1_metadata_file.csv", index=False)
    check(hq.io.read_section(folder), truth, COSMX, "micron")


def test_cosmx_positions_from_the_fields(tmp_path, truth):
    folder = write_cosmx(tmp_path / "run", truth)
    cells = pd.read_csv(folder / "S1_metadata_file.csv").drop(columns=["CenterX_global_px", "CenterY_global_px"])
    cells.to_csv(folder / "S1_metadata_file.csv", index=False)
    with pytest.raises(FileNotFoundError, match=r"\*fov_positions_file.csv, .* is missing"):
        hq.io.read_section(folder)
    fields = pd.DataFrame({"FOV": [2, 1], "x_global_px": [5000, 0], "y_global_px": [100, 0]})
    fields.to_csv(folder / "S1_fov_positions_file.csv", index=False)
    corners = np.where(FOV[:, None] == 2, [5000, 100], 0)
    check(hq.io.read_section(folder), (truth[0], truth[1] / 3 + corners), COSMX, "pixel")


def test_cosmx_of_two_slides_is_joined_by_name(tmp_path, truth):
    """Field and number repeat between slides; the name of the cell does not."""
    ids = ("fov", "cell_ID", "cell")
    folder = write_cosmx(tmp_path / "run", truth, counts_ids=ids, cells_ids=ids)
    for path in folder.iterdir():
        table = pd.read_csv(path)
        second = table["fov"] == 2
        table.loc[second, "fov"] = 1  # the second half now repeats field 1
        table.loc[second, "cell"] = table.loc[second, "cell"].str.replace("c_1_2_", "c_2_1_")
        table.to_csv(path, index=False)
    names = [name.replace("c_1_2_", "c_2_1_") for name in LONG]
    check(hq.io.read_section(folder), truth, names, "pixel")
    for path in folder.iterdir():
        pd.read_csv(path).drop(columns="cell").to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"exprMat_file.csv lists cells more than once: '1_1'.*a folder of its own"):
        hq.io.read_section(folder)


def test_cosmx_that_cannot_be_joined(tmp_path, truth):
    folder = write_cosmx(tmp_path / "run", truth, counts_ids=("fov", "cell_ID"), cells_ids=("cell",))
    with pytest.raises(ValueError, match=r"no columns in common that name the cells \(fov and cell_ID, or cell\)"):
        hq.io.read_section(folder)
    (folder / "S1_metadata_file.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"not a complete CosMx output: it has no metadata_file.csv or .csv.gz"):
        hq.io.read_section(folder)
    other = write_cosmx(tmp_path / "other", truth)
    counts = pd.read_csv(other / "S1_exprMat_file.csv")
    counts.assign(fov=counts["fov"] + 7).to_csv(other / "S1_exprMat_file.csv", index=False)
    with pytest.raises(ValueError, match=r"No cell of S1_exprMat_file.csv \(named like '1_8', .*the same slide\?"):
        hq.io.read_section(other)


def test_text_beside_the_counts_is_named(tmp_path, truth):
    folder = write_cosmx(tmp_path / "run", truth)
    counts = pd.read_csv(folder / "S1_exprMat_file.csv")
    counts.assign(tissue="lung").to_csv(folder / "S1_exprMat_file.csv", index=False)
    with pytest.warns(UserWarning, match=r"S1_exprMat_file.csv that hold text are not read as genes: 'tissue'"):
        check(hq.io.read_section(folder), truth, COSMX, "pixel")


# ---- the folder above


def test_the_folder_above(tmp_path, truth, caplog):
    folder = write_merscope(tmp_path / "run" / "region_0", truth)
    with caplog.at_level("INFO", "histoquilt"):
        check(hq.io.read_section(tmp_path / "run"), truth, merscope_ids(), "micron")
    assert "region_0 is read: the only section in" in caplog.text
    check(hq.io.read_section(tmp_path), truth, merscope_ids(), "micron")  # two levels
    shutil.copytree(folder, tmp_path / "run" / "region_1")
    with pytest.raises(ValueError, match=r"holds 2 sections: 'region_0', 'region_1'. Give one of them, or list them"):
        hq.io.read_section(tmp_path / "run")


def test_the_folder_above_cosmx_and_xenium(tmp_path, truth):
    write_cosmx(tmp_path / "export" / "flatFiles" / "S1", truth)
    check(hq.io.read_section(tmp_path / "export"), truth, COSMX, "pixel")
    for name in ("output-XETG1__A", "output-XETG1__B"):
        (tmp_path / "xenium" / name).mkdir(parents=True)
        (tmp_path / "xenium" / name / "experiment.xenium").write_text("{}")
    with pytest.raises(ValueError, match=r"holds 2 sections: 'output-XETG1__A', 'output-XETG1__B'"):
        hq.io.read_section(tmp_path / "xenium")
    half = tmp_path / "half"
    half.mkdir()
    (half / "cell_feature_matrix.h5").touch()
    with pytest.raises(ValueError, match=r"output of Xenium without experiment.xenium"):
        hq.io.read_section(half)


def test_a_file_of_an_output(tmp_path, truth):
    folder = write_cosmx(tmp_path / "run", truth)
    with pytest.raises(ValueError, match=r"It is part of an output of CosMx: give the folder, .*run"):
        hq.io.read_section(folder / "S1_exprMat_file.csv")
    assert recognise_platform(folder) == "cosmx"
