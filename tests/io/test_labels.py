"""Columns of a samples.csv: ``labels`` and ``label_column``, ``spots``, ``fold``; patients under two spellings."""

import gzip

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq


@pytest.fixture
def study(tmp_path):
    """Write two sections of nine spots, and a samples.csv with more columns; return a function that reads it."""
    for name in "ab":
        adata = AnnData(np.ones((9, 3), dtype=np.float32), obs=pd.DataFrame(index=[f"AC{i}-1" for i in range(9)]))
        adata.var_names = ["MBP", "SNAP25", "GFAP"]
        adata.obs["layer"] = list("xxxyyyzzz")
        adata.obsm["spatial"] = np.stack([np.arange(9) % 3, np.arange(9) // 3], axis=1) * 100.0
        adata.write_h5ad(tmp_path / f"{name}.h5ad")

    def read(columns, a, b="", **options):
        lines = [f"section,counts,{columns}", f"a,a.h5ad,{a}", f"b,b.h5ad,{b or a}"]
        (tmp_path / "samples.csv").write_text("\n".join(lines) + "\n")
        return hq.io.read_samples(tmp_path / "samples.csv", **options).sections

    return read


def labels_of(sections, name="a"):
    return sections[name].obs["labels"].astype(object).where(sections[name].obs["labels"].notna(), None).tolist()


def test_labels_of_a_column(study):
    assert labels_of(study("labels", "layer")) == list("xxxyyyzzz")


TRUTH = [f"AC{i}-1\tL{i // 3}" for i in range(9)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("truth.txt", "\n".join(TRUTH)),
        ("crlf.txt", "\r\n".join(TRUTH) + "\r\n"),
        ("spaces.txt", "\n".join(TRUTH).replace("\t", " ")),
        ("bare.csv", "barcode,label\n" + "\n".join(TRUTH).replace("\t", ",").replace("-1", "")),
        ("shuffled.tsv", "barcode\tlabel\n" + "\n".join(TRUTH[::-1])),
        ("quoted.csv", '\ufeff"barcode","Label"\n' + "\n".join(f'"AC{i}-1","L{i // 3}"' for i in range(9))),
        ("r.tsv", "umi\tlabel\n" + "\n".join(f"AC{i}-1\t{i}\tL{i // 3}" for i in range(9))),
        ("two.tsv", "\n".join(f"AC{i}-1\t{name}\tL{i // 3 + 5 * (name == 'b')}" for name in "ab" for i in range(9))),
    ],
)
def test_labels_of_a_file_in_any_form(study, tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    assert labels_of(study("labels", name)) == [f"L{i // 3}" for i in range(9)]
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    found = study("labels", packed.name)
    assert labels_of(found) == [f"L{i // 3}" for i in range(9)]
    if name == "two.tsv":
        assert labels_of(found, "b") == [f"L{i // 3 + 5}" for i in range(9)]


def test_spots_without_a_label_are_missing(study, tmp_path):
    (tmp_path / "t.tsv").write_text("spot\tlabel\nAC0-1\tNA\nAC1-1\tL1\nAC2-1\t\nOTHER-1\tL1\nAC3-1\tL2\n")
    assert labels_of(study("labels", "t.tsv")) == [None, "L1", None, "L2", *[None] * 5]


@pytest.mark.parametrize(
    ("header", "cells"), [("spot,label", "edge"), ("spot,x,label", "{i},edge"), ("spot,kind", "edge")]
)
def test_a_section_of_one_region(study, tmp_path, header, cells):
    rows = [f"AC{i}-1,{cells.format(i=i)}" for i in range(9)]
    (tmp_path / "one.csv").write_text("\n".join([header, *rows]))
    assert labels_of(study("labels", "one.csv")) == ["edge"] * 9


def test_the_column_of_a_table_with_several(study, tmp_path):
    (tmp_path / "m.csv").write_text("spot,layer_guess,cluster\n" + "\n".join(f"AC{i}-1,L{i},{i}" for i in range(9)))
    assert labels_of(study("labels,label_column", "m.csv,cluster")) == list("012345678")
    with pytest.raises(
        ValueError, match=r"m.csv has 2 columns besides the spots \('layer_guess', 'cluster'\).*label_c"
    ):
        study("labels", "m.csv")
    with pytest.raises(ValueError, match=r"'layers' is not in m.csv \(found: 'spot', 'layer_guess', 'cluster'\)"):
        study("labels,label_column", "m.csv,layers")


@pytest.mark.parametrize(
    ("columns", "cells", "told"),
    [
        ("labels", "nothing", r"'nothing' is not in adata.obs \(found: .*'layer'.*Name a column of the section, or a"),
        ("labels", "gone.tsv", "labels .*gone.tsv does not exist"),
        ("labels,label_column", "layer,x", "label_column names a column of the file in the cell 'labels', which names"),
        (
            "labels",
            "foreign.tsv",
            "None of the spots of section 'a' .* is in foreign.tsv; its columns are 's', 'label'",
        ),
        ("labels", "twice.tsv", "twice.tsv labels spots more than once: 'AC0-1'"),
        ("labels", "ragged.tsv", "ragged.tsv: line 3 has 1 cells, and 2 are expected. Is it truncated"),
        ("labels", "empty.tsv", "empty.tsv is empty"),
        ("spots", "gone/", "spots .*gone does not exist"),
        ("spots", "twice.tsv", r"a.h5ad holds its own spot positions, so those in .*twice.tsv have no use"),
    ],
)
def test_labels_that_cannot_be_right(study, tmp_path, columns, cells, told):
    (tmp_path / "foreign.tsv").write_text("s\tlabel\nq1\tx\nq2\ty\n")
    (tmp_path / "twice.tsv").write_text("s\tlabel\nAC0-1\tx\nAC0-1\ty\n")
    (tmp_path / "ragged.tsv").write_text("s\tlabel\nAC0-1\tx\nAC1-1\n")
    (tmp_path / "empty.tsv").write_text("\n")
    with pytest.raises(ValueError, match=told):
        study(columns, cells)


def test_an_earlier_column_is_kept(study, tmp_path):
    (tmp_path / "t.tsv").write_text("\n".join(TRUTH))
    for name in "ab":
        adata = hq.io.read_h5ad(tmp_path / f"{name}.h5ad")
        adata.obs["labels"] = "mine"
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    found = study("labels", "t.tsv")
    assert labels_of(found)[0] == "L0"
    assert found["a"].obs["labels_before"].unique().tolist() == ["mine"]


def test_folds_are_text(study):
    assert study("fold", "1", "2")["b"].obs["fold"].unique().tolist() == ["2"]


def test_misspelt_columns_are_named(study):
    with pytest.warns(UserWarning, match="column 'label' has no meaning here.*Did you mean 'labels'"):
        study("label", "x")


def test_a_patient_under_two_spellings(study):
    with pytest.warns(UserWarning, match="'P1', 'p01' are taken as different patients"):
        study("patient", "P1", "p01")


def test_gzipped_pictures(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    packed = tmp_path / "a.png.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.png").read_bytes()))
    with hq.io.open_slide(packed) as slide:
        assert slide.name == "a"
        np.testing.assert_array_equal(slide.read_region(0, 0, 40, 30), pixels)
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises((OSError, ValueError), match=r"a\.png\.gz could not be unpacked"):
        hq.io.open_slide(packed)
    packed.write_bytes(b"no gzip")
    with pytest.raises(OSError, match="could not be unpacked"):
        hq.io.open_slide(packed)
