"""Where raw counts were found, and how counts with fractions are declared."""

import anndata
import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

import histoweave as hw
from histoweave._counts_elsewhere import counts_elsewhere
from histoweave.pp import expression


@pytest.fixture
def counts() -> AnnData:
    adata = hw.datasets.toy_section(n_spots=120, n_genes=40, n_domains=2, seed=0)
    adata.uns.clear()
    return adata


def normalise(adata: AnnData) -> AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def with_raw(adata: AnnData) -> AnnData:
    adata.raw = adata.copy()
    return normalise(adata)


def with_raw_of_more_genes(adata: AnnData) -> AnnData:
    return with_raw(adata)[:, :30].copy()


def with_layer(name: str):
    def change(adata: AnnData) -> AnnData:
        adata.layers[name] = adata.X.copy()
        return normalise(adata)

    return change


def scaled_with_raw(adata: AnnData) -> AnnData:
    adata.raw = adata.copy()
    adata.X = adata.X.toarray() - 1.5
    return adata


def without_x(adata: AnnData) -> AnnData:
    adata.layers["umi"] = adata.X.copy()
    adata.X = None
    return adata


def logged_counts_layer(adata: AnnData) -> AnnData:
    adata.layers["counts"] = adata.X.log1p()
    return adata


def read_and_normalised(adata: AnnData) -> AnnData:
    adata.uns["histoweave"] = {"scale": {"X": "counts"}}
    return with_layer("raw_counts")(adata)


PLACES = [
    (with_raw, r'adata.raw holds raw counts for 40 genes: adata.layers["counts"] = adata.raw.X.'),
    (with_raw_of_more_genes, "raw counts for 40 genes (the section has 30): adata = adata.raw.to_adata()"),
    (
        scaled_with_raw,
        r"smallest -1.5), so it was scaled or centred. Raw counts are needed: adata.raw holds raw counts",
    ),
    (with_layer("raw_counts"), """layers["raw_counts"] holds whole numbers: layer='raw_counts'."""),
    (with_layer("spliced"), """layers["spliced"] holds whole numbers: layer='spliced'."""),
    (without_x, """(X is empty). layers["umi"] holds whole numbers: layer='umi'."""),
    (logged_counts_layer, "X holds whole numbers: layer='X'."),
    (read_and_normalised, """after it was declared. layers["raw_counts"] holds whole numbers: layer='raw_counts'."""),
]


@pytest.mark.parametrize(("change", "words"), PLACES)
def test_the_message_says_where_counts_are(counts, change, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        expression(change(counts))
    assert words in str(caught.value)


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix, np.asarray], ids=["csr", "csc", "dense"])
@pytest.mark.parametrize("change", [with_raw, with_layer("raw_counts")], ids=["raw", "layer"])
def test_any_form_of_matrix_in_memory_and_in_a_file(counts, tmp_path, form, change):
    counts.X = form(counts.X.toarray())
    adata = change(counts)
    said = counts_elsewhere(adata, "X")
    assert "holds raw counts" in said or "whole numbers" in said
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert counts_elsewhere(anndata.read_h5ad(tmp_path / "a.h5ad", backed="r"), "X") == said


def test_nothing_is_said_of_matrices_that_are_no_counts(counts):
    counts.layers["scaled"] = counts.X.toarray() - 1
    counts.layers["zero"] = csr_matrix(counts.shape)
    normalise(counts)
    counts.raw = counts.copy()
    assert counts_elsewhere(counts, "X") == ""
    with pytest.raises(
        ValueError, match=r"Raw counts are needed: put them into adata.layers\['counts'\] \(or pass lay"
    ):
        expression(counts)


def test_the_lines_in_the_message_work(counts):
    right = counts.X.toarray()
    more = with_raw_of_more_genes(counts.copy()).raw.to_adata()
    np.testing.assert_array_equal(expression(more).matrix.toarray(), right)
    same = with_raw(counts)
    same.layers["counts"] = same.raw.X
    np.testing.assert_array_equal(expression(same).matrix.toarray(), right)


def test_a_layer_that_is_missing(counts):
    """Somebody types raw, and means .raw."""
    with pytest.raises(KeyError, match=r"'raw\\' is not in adata.layers.* adata.raw holds raw counts for 40 genes"):
        expression(with_raw(counts), "raw")


@pytest.mark.parametrize("factor", [0.93, 0.5, 10.5])
@pytest.mark.parametrize("layer", [None, "decontaminated"])
def test_counts_with_fractions_may_be_declared(counts, factor, layer):
    """Deep and shallow: the largest value does not matter."""
    counts.X = counts.X.minimum(25) * np.float32(factor)
    name = layer or "X"
    if layer:
        counts.layers[layer] = counts.X.copy()
    with pytest.raises(ValueError, match=rf"\{{'scale': \{{'{name}': 'counts'\}}\}}"):
        expression(counts, layer)
    counts.uns["histoweave"] = {"scale": {name: "counts"}}
    with pytest.warns(UserWarning, match=f"{name} is declared counts, but holds fractions"):
        found = expression(counts, layer)
    assert found.scale == "counts"
    np.testing.assert_allclose(found.matrix.toarray(), (counts.layers[layer] if layer else counts.X).toarray())


@pytest.mark.parametrize("change", [normalise, lambda adata: AnnData(adata.X.log1p(), adata.obs, adata.var)])
def test_values_that_are_logarithms_are_not_declared_counts(counts, change):
    adata = change(counts)
    adata.uns["histoweave"] = {"scale": {"X": "counts"}}
    with pytest.raises(ValueError, match=r"X is declared counts, but looks log-transformed.*Put the raw counts into"):
        expression(adata)


def test_models_and_plots_say_the_same(counts):
    adata = with_layer("raw_counts")(counts)
    adata.obsm["X_image"] = np.ones((adata.n_obs, 3), np.float32)
    words = r"""layers\["raw_counts"\] holds whole numbers: layer='raw_counts'"""
    with pytest.raises(ValueError, match=words):
        hw.models.MeanExpression().fit({"a": adata, "b": adata}, use_rep="X_image")
    with pytest.raises(ValueError, match=words):
        hw.tl.spatial_domains(adata, 2)
    with pytest.raises(ValueError, match=words):
        hw.pl.gene(adata, adata.var_names[0])


def test_sections_on_different_scales(counts):
    other = with_layer("raw_counts")(counts.copy())
    with pytest.raises(ValueError, match=r"""different scales .*Section 'b': layers\["raw_counts"\] holds whole"""):
        hw.io.concat_sections({"a": counts, "b": other})
