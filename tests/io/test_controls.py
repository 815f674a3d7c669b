"""Controls are no genes: recognised by name on every platform, kept beside the genes."""

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.io._controls import find_controls

CONTROLS = [
    "NegPrb1", "NegPrb-10", "Negative01", "Negative.2", "Negative-3", "SystemControl1", "SystemControl004",
    "FalseCode7", "BLANK_0001", "BLANK-0069", "Blank-1", "blank.12", "Blank15", "Blank", "NegControlProbe_00042",
    "NegControlCodeword_0500", "NegControlCodeword-0500", "UnassignedCodeword_0001", "DeprecatedCodeword_0321",
    "antisense_PROKR2", "antisense-SCRIB", "Intergenic_Region_1234", "NegProbe-WTX", "NegProbe", "ERCC-00002",
    "ERCC_00171", "ercc.00130", "ERCC00012", "Blank-1-1",
]  # fmt: skip
GENES = [
    "ERCC1", "ERCC2", "ERCC6", "ERCC6L", "ERCC6L2", "ERCC8", "Ercc5", "ERCC6-1", "ERCC6-PGBD3", "ERCC-1", "NEGR1",
    "Negr1", "BLNK", "Blnk", "blanks", "BLANKET", "SYS1", "FALZ", "ANTXR1", "NELFA", "UNASSIGNED", "Prokr2",
    "PROBE1", "ASIC1", "ENSG00000012061", "NEG1", "Control", "nan1",
]  # fmt: skip


def mixed(n_spots: int = 30) -> AnnData:
    """Three genes with two controls between them, an array of spots."""
    rng = np.random.default_rng(0)
    names = ["ERCC1", "NegPrb1", "BLNK", "ERCC-00002", "NEGR1"]
    adata = AnnData(csr_matrix(rng.poisson(3.0, (n_spots, 5)).astype(np.float32)), var=pd.DataFrame(index=names))
    adata.obs_names = [f"spot{i}" for i in range(n_spots)]
    adata.obsm["spatial"] = np.column_stack(np.divmod(np.arange(n_spots), 6)).astype(float)
    return adata


def check_mixed(adata: AnnData, before: AnnData) -> None:
    assert list(adata.var_names) == ["ERCC1", "BLNK", "NEGR1"]
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray()[:, [0, 2, 4]])
    assert list(adata.obsm["controls"].columns) == ["NegPrb1", "ERCC-00002"]
    np.testing.assert_array_equal(adata.obsm["controls"].to_numpy(), before.X.toarray()[:, [1, 3]])
    assert list(adata.obsm["controls"].index) == list(adata.obs_names)


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_by_name(name):
    assert find_controls(pd.DataFrame(index=[name])).all()


@pytest.mark.parametrize("name", GENES)
def test_genes_by_name(name):
    assert not find_controls(pd.DataFrame(index=[name])).any()


@pytest.mark.parametrize("column", ["gene_symbols", "feature_name"])
def test_symbols_and_kinds_are_looked_at(column):
    var = pd.DataFrame({column: ["ERCC1", "NegPrb1", "BLNK"]}, index=["ENSG1", "x2", "ENSG3"])
    assert list(find_controls(var)) == [False, True, False]
    var[column] = var[column].astype("category")
    assert list(find_controls(var)) == [False, True, False]
    kinds = pd.DataFrame({"feature_types": ["Gene Expression", "Unassigned Codeword"]}, index=["A", "B"])
    assert list(find_controls(kinds)) == [False, True]


def test_h5ad(tmp_path, caplog):
    before = mixed()
    before.write_h5ad(tmp_path / "a.h5ad")
    with caplog.at_level(logging.INFO, "histoquilt"):
        adata = hq.io.read_section(tmp_path / "a.h5ad")
    assert "2 controls are not genes and are kept in obsm['controls']: 'NegPrb1', 'ERCC-00002'" in caplog.text
    check_mixed(adata, before)
    check_mixed(hq.io.read_h5ad(tmp_path / "a.h5ad"), before)
    hq.io.write_h5ad(adata, tmp_path / "b.h5ad")
    check_mixed(hq.io.read_section(tmp_path / "b.h5ad"), before)  # once more changes nothing


def test_backed_h5ad(tmp_path):
    before = mixed()
    before.write_h5ad(tmp_path / "a.h5ad")
    adata = hq.io.read_h5ad(tmp_path / "a.h5ad", backed=True)
    check_mixed(adata, before)
    hq.io.write_h5ad(adata, tmp_path / "b.h5ad")
    before[:, [0, 2, 4]].copy().write_h5ad(tmp_path / "c.h5ad")
    assert hq.io.read_h5ad(tmp_path / "c.h5ad", backed=True).isbacked  # no controls: nothing is loaded


def test_raw_counts_of_controls_are_kept(tmp_path):
    before = mixed()
    counts = before.X.copy()
    before.layers["counts"] = counts
    before.X = np.log1p(counts.toarray())
    before.write_h5ad(tmp_path / "a.h5ad")
    controls = hq.io.read_section(tmp_path / "a.h5ad").obsm["controls"]
    np.testing.assert_array_equal(controls.to_numpy(), counts.toarray()[:, [1, 3]])


def test_a_table_of_that_name_stays(tmp_path):
    before = mixed()
    before.obsm["controls"] = np.ones((before.n_obs, 2))
    before.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(
        UserWarning, match=r"obsm\['controls'\] was not written by histoquilt. It is kept as obsm\['controls_before'\]"
    ):
        adata = hq.io.read_section(tmp_path / "a.h5ad")
    check_mixed(adata, before)
    np.testing.assert_array_equal(adata.obsm["controls_before"], 1)


def test_controls_of_a_huge_table_are_left_out(tmp_path, monkeypatch):
    before = mixed()
    before.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr("histoquilt.io._controls._MOST_BYTES", 2 * before.n_obs - 1)
    with pytest.warns(UserWarning, match=r"2 controls are not genes and are left out: their counts in \d+ spots"):
        adata = hq.io.read_section(tmp_path / "a.h5ad")
    assert adata.n_vars == 3
    assert "controls" not in adata.obsm


def test_only_controls_stay_what_they_are(tmp_path):
    only = mixed()[:, ["NegPrb1", "ERCC-00002"]].copy()
    only.write_h5ad(tmp_path / "a.h5ad")
    assert hq.io.read_section(tmp_path / "a.h5ad").n_vars == 2


def test_tables_and_samples(tmp_path):
    before = mixed()
    before.to_df().astype(int).to_csv(tmp_path / "counts.csv")
    places = pd.DataFrame(before.obsm["spatial"], index=before.obs_names, columns=["x", "y"])
    places.to_csv(tmp_path / "places.csv")
    check_mixed(hq.io.read_table(tmp_path / "counts.csv", tmp_path / "places.csv", unit="pixel"), before)
    before.write_h5ad(tmp_path / "a.h5ad")
    other = before.copy()
    other.var_names = ["ERCC1", "BLANK_0001", "BLNK", "Negative1", "NEGR1"]
    other.write_h5ad(tmp_path / "b.h5ad")
    (tmp_path / "samples.csv").write_text("section,counts\na,a.h5ad\nb,b.h5ad\n")
    sections = hq.io.read_samples(tmp_path / "samples.csv").sections
    check_mixed(sections["a"], before)
    assert list(sections["b"].obsm["controls"].columns) == ["BLANK_0001", "Negative1"]
    joint = hq.io.concat_sections(sections)
    assert list(joint.var_names) == ["ERCC1", "BLNK", "NEGR1"]
    hq.io.write_h5ad(joint, tmp_path / "joint.h5ad")
