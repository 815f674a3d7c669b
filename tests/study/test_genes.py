import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq


def section(names, **columns) -> AnnData:
    return AnnData(np.ones((2, len(names)), dtype=np.float32), var=pd.DataFrame(columns, index=pd.Index(names)))


@pytest.mark.parametrize(
    ("names", "kind", "species"),
    [
        (["ENSG00000122585", "ENSG00000123560"], "ensembl", "human"),
        (["ENSMUSG00000064339.1", "ENSMUSG00000064337.1"], "ensembl_version", "mouse"),
        (["ENSRNOG00000064339", "ENSRNOG00000064337"], "ensembl", "other"),
        (["ENSG00000122585", "ENSMUSG00000064337"], "ensembl", "mixed"),
        (["MBP", "SNAP25", "C1orf159", "FO538757.1", "HLA-A"], "symbol", "human"),
        (["Mbp", "Snap25", "0610007N19Rik", "Gm1992", "Plp1"], "symbol", "mouse"),
        (["mbpa", "snap25b", "plp1a"], "symbol", "other"),
        (["ENSG00000122585", "MBP"], "mixed", "human"),
        ([], "none", "unknown"),
    ],
)
def test_kinds_and_species(names, kind, species):
    found = hq.io.detect_gene_ids(names)
    assert (found.kind, found.species) == (kind, species)


def test_a_few_transgenes_leave_ensembl_identifiers_what_they_are():
    names = [f"ENSG{i:011d}" for i in range(98)] + ["GFP", "ERCC-00002"]
    assert hq.io.detect_gene_ids(names).kind == "ensembl"
    assert hq.io.detect_gene_ids(["GFP"] * 2 + names[:1] + [f"GENE{i}" for i in range(40)]).kind == "symbol"


@pytest.mark.parametrize("empty", ["", "  ", "nan", None, np.nan])
def test_genes_without_names(empty):
    with pytest.raises(ValueError, match=r"1 of 3 genes have no name \(empty or NaN\), first at column 1"):
        hq.io.detect_gene_ids(["A1BG", empty, "A2M"])


def test_versions_go_and_the_copy_on_y_stays():
    adata = section(["ENSG00000197971.15", "ENSG00000182378.14", "ENSG00000182378.14_PAR_Y"])
    hq.io.annotate_genes(adata)
    assert list(adata.var["gene_id"]) == ["ENSG00000197971", "ENSG00000182378", "ENSG00000182378_PAR_Y"]
    assert adata.var_names[0] == "ENSG00000197971.15"


def test_nothing_is_merged_and_the_display_name_stays():
    adata = section(["TBCE", "MBP", "TBCE"])
    adata.X = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    with pytest.warns(UserWarning, match=r"Names that several genes share \(1\): 'TBCE'. All genes are kept"):
        hq.io.annotate_genes(adata)
    assert list(adata.var_names) == ["TBCE", "MBP", "TBCE-1"]
    assert list(adata.var["gene_symbol"]) == ["TBCE", "MBP", "TBCE"]
    assert list(adata.var["gene_id"]) == ["", "", ""]
    np.testing.assert_array_equal(adata.X, [[1, 2, 3], [4, 5, 6]])
    assert adata.uns["histoquilt"]["genes"] == {
        "kind": "symbol", "species": "human", "species_from": "casing", "n_duplicated": 1,
    }  # fmt: skip


def test_symbols_beside_identifiers_are_found():
    adata = section(["ENSMUSG00000064339", "ENSMUSG00000064337"], feature_name=["mt-Rnr2", np.nan])
    hq.io.annotate_genes(adata)
    assert list(adata.var["gene_symbol"]) == ["mt-Rnr2", "ENSMUSG00000064337"]
    other = section(["X1", "X2"], mine=["ENSMUSG00000064339.2", "ENSMUSG00000064337.1"])
    hq.io.annotate_genes(other, gene_id="mine")
    assert list(other.var["gene_id"]) == ["ENSMUSG00000064339", "ENSMUSG00000064337"]
    assert other.uns["histoquilt"]["genes"]["species"] == "mouse"
    assert other.uns["histoquilt"]["genes"]["species_from"] == "identifiers"
    with pytest.raises(KeyError, match=r"'symbols' is not in adata.var \(found: 'mine'"):
        hq.io.annotate_genes(other, gene_symbol="symbols")


def test_a_second_call_changes_nothing():
    adata = section(["Mbp", "Mbp", "Plp1"])
    with pytest.warns(UserWarning, match="Names that several genes share"):
        hq.io.annotate_genes(adata)
    before = adata.var.copy()
    hq.io.annotate_genes(adata)
    pd.testing.assert_frame_equal(adata.var, before, check_index_type=False)  # pandas 3 makes object text str


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "kind", "species"),
    [
        ("dlpfc/151673", "ensembl", "human"),
        ("mob/MOB1", "ensembl_version", "mouse"),
        ("her2st/A1", "symbol", "human"),
        ("starmap/visual_cortex_BY3_1k", "symbol", "mouse"),
        ("als_spinal_cord/CN51_C2_1", "symbol", "mouse"),
        ("dlpfc_pca/151507", "none", "unknown"),
    ],
)
def test_real_sections(data_dir, file, kind, species):
    genes = hq.io.read_h5ad(data_dir / f"{file}.h5ad").uns["histoquilt"]["genes"]
    assert (genes["kind"], genes["species"]) == (kind, species)
