import numpy as np
import pandas as pd
import pytest

import histoquilt as hq

COUNTS = pd.DataFrame({"MBP": [1, 0, 4], "NA": [0, 2, 0]}, index=["001", "002", "003"])
PLACES = pd.DataFrame(
    {"cell": ["003", "001", "002", "004"], "x": [3.0, 1.0, 2.0, 4.0], "y": [30, 10, 20, 40], "layer": list("cabd")}
)


@pytest.fixture
def tables(tmp_path):
    COUNTS.to_csv(tmp_path / "counts.csv")
    PLACES.to_csv(tmp_path / "places.csv", index=False)
    return tmp_path / "counts.csv", tmp_path / "places.csv"


def check(adata):
    """Names stay text, the order is that of the counts, the spot without counts is gone."""
    assert list(adata.obs_names) == ["001", "002", "003"]
    assert list(adata.var_names) == ["MBP", "NA"]
    np.testing.assert_array_equal(adata.X.toarray(), [[1, 0], [0, 2], [4, 0]])
    np.testing.assert_array_equal(adata.obsm["spatial"], [[1, 10], [2, 20], [3, 30]])
    assert list(adata.obs["layer"]) == ["a", "b", "c"]


def test_spots_by_genes(tables):
    adata = hq.io.read_table(*tables, unit="micron")
    check(adata)
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "micron"}
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}


@pytest.mark.parametrize("ending", [".tsv", ".tsv.gz", ".txt", ".csv.gz"])
def test_genes_by_spots_in_every_dress(tmp_path, ending):
    sep = "," if ".csv" in ending else "\t"
    COUNTS.T.to_csv(tmp_path / f"counts{ending}", sep=sep)
    PLACES.to_csv(tmp_path / f"places{ending}", sep=sep, index=False)
    files = (tmp_path / f"counts{ending}", tmp_path / f"places{ending}")
    check(hq.io.read_table(*files, unit="pixel", transpose=True))


def test_a_header_without_a_corner_as_r_writes_it(tables):
    tables[0].write_text('"MBP","NA"\n"001",1,0\n"002",0,2\n"003",4,0\n')
    check(hq.io.read_table(*tables, unit="pixel"))


def test_named_columns_and_separator(tables):
    COUNTS.to_csv(tables[0], sep=";")
    PLACES.rename(columns={"x": "um_x", "y": "um_y"})[["um_x", "um_y", "layer", "cell"]].to_csv(
        tables[1], sep=";", index=False
    )
    check(hq.io.read_table(*tables, unit="micron", x="um_x", y="um_y", spot="cell", sep=";"))


def test_the_unit_must_be_said(tables):
    with pytest.raises(TypeError, match="unit"):
        hq.io.read_table(*tables)
    assert hq.io.read_table(*tables, unit="pixel", mpp=0.5).uns["histoquilt"]["coordinates"]["mpp"] == 0.5
    with pytest.raises(ValueError, match="mpp is microns per pixel"):
        hq.io.read_table(*tables, unit="array", mpp=0.5)


def test_the_wrong_way_round(tables, tmp_path):
    with pytest.raises(ValueError, match=r"3 of its row names are spots .*spots x genes; leave transpose=True out"):
        hq.io.read_table(*tables, unit="pixel", transpose=True)
    COUNTS.T.to_csv(tables[0])
    with pytest.raises(ValueError, match=r"3 of its column names are spots .*it is genes x spots; pass transpose=True"):
        hq.io.read_table(*tables, unit="pixel")


def test_names_that_do_not_meet(tables):
    COUNTS.set_axis(["a", "b", "c"]).to_csv(tables[0])
    with pytest.raises(ValueError, match=r"No name in counts.csv is a spot of places.csv: rows are named like 'a'"):
        hq.io.read_table(*tables, unit="pixel")
    COUNTS.set_axis(["001", "002", "c"]).to_csv(tables[0])
    with pytest.raises(ValueError, match=r"1 of 3 spots in counts.csv have no position in places.csv, first: 'c'"):
        hq.io.read_table(*tables, unit="pixel")


def test_columns_that_are_not_there(tables):
    with pytest.raises(KeyError, match=r"'px' is not a column of places.csv \(found: 'cell', 'x', 'y', .*Pass x="):
        hq.io.read_table(*tables, unit="pixel", x="px")
    with pytest.raises(KeyError, match=r"Pass spot="):
        hq.io.read_table(*tables, unit="pixel", spot="barcode")
    PLACES[["x", "y", "cell"]].to_csv(tables[1], index=False)
    with pytest.raises(KeyError, match=r"The first column of places.csv is 'x', a coordinate.*with spot="):
        hq.io.read_table(*tables, unit="pixel")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (pd.concat([PLACES, PLACES[:1]]), "lists spots more than once: '003'"),
        (PLACES.assign(x=[1, np.nan, 3, 4]), "1 of 3 spots have no finite 'x' and 'y', first: '001'"),
        (PLACES.assign(y=[1, 2, np.inf, 4]), "1 of 3 spots have no finite 'x' and 'y', first: '002'"),
    ],
)
def test_strange_positions(tables, places, words):
    places.to_csv(tables[1], index=False)
    with pytest.raises(ValueError, match=words):
        hq.io.read_table(*tables, unit="pixel")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (COUNTS - 1, r"counts.csv holds negative values"),
        (COUNTS * 0, r"counts.csv is all zero"),
        (COUNTS * 10.5, r"counts.csv holds fractions"),
        (COUNTS.astype(object).where(COUNTS != 4, "four"), r"columns that are not numbers: 'MBP'"),
        (COUNTS.rename(columns={"MBP": ""}), r"1 of 2 genes have no name"),
        (COUNTS.set_axis(["001", "002", "002"]), r"Spot names \(barcodes\) must be unique"),
    ],
)
def test_strange_counts(tables, counts, words):
    counts.to_csv(tables[0])
    with pytest.raises(ValueError, match=words):
        hq.io.read_table(*tables, unit="pixel")


def test_missing_files(tables, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist; expected a table of counts"):
        hq.io.read_table(tmp_path / "none.csv", tables[1], unit="pixel")
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist; expected a table of spot positions"):
        hq.io.read_table(tables[0], tmp_path / "none.csv", unit="pixel")
