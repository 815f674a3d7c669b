import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

from histoquilt.pp import Expression, expression
from histoquilt.study._scale import declare_scale


def dense(adata: AnnData) -> np.ndarray:
    return adata.X.toarray()


def logged(adata: AnnData) -> AnnData:
    adata.X = expression(adata).normalised()
    return adata


def test_x_as_counts(section):
    found = expression(section)
    assert (found.name, found.scale, found.genes[:2]) == ("X", "counts", ["g0", "g1"])
    assert isinstance(found.matrix, csr_matrix)
    assert found.matrix.dtype == np.float32
    np.testing.assert_array_equal(found.matrix.toarray(), dense(section))


@pytest.mark.parametrize("form", [np.asarray, csc_matrix, lambda x: csr_matrix(x.astype(np.int64))])
def test_any_form_of_matrix(section, form):
    expected = dense(section)
    section.X = form(expected)
    np.testing.assert_array_equal(expression(section).matrix.toarray(), expected)


def test_layer_counts_is_preferred(section):
    section.layers["counts"] = section.X.copy()
    section.X = section.X.log1p()
    assert expression(section).name == "counts"
    np.testing.assert_array_equal(expression(section).matrix.toarray(), section.layers["counts"].toarray())
    with pytest.raises(ValueError, match="X looks log-transformed"):
        expression(section, "X")  # a layer that is named is taken at its word


def test_named_layer(section):
    section.layers["counts"] = section.X.copy()
    section.layers["spliced"] = section.X * 2
    found = expression(section, "spliced")
    assert found.name == "spliced"
    assert found.matrix.sum() == 2 * section.X.sum()
    with pytest.raises(KeyError, match=r"'raw' is not in adata\.layers \(found: 'counts', 'spliced'\)"):
        expression(section, "raw")


def test_declared_log_is_taken_as_it_is(section):
    declare_scale(logged(section), "X", "log1p_cp10k")
    found = expression(section)
    assert found.scale == "log1p_cp10k"
    np.testing.assert_array_equal(found.normalised().toarray(), dense(section))
    for asked in ({"log": False}, {"target_sum": 1e6}):
        with pytest.raises(ValueError, match="X is declared log1p_cp10k; it cannot be brought to another"):
            found.normalised(**asked)


def test_declared_log_of_some_genes(section):
    kept = logged(section)[:, :20].copy()
    declare_scale(kept, "X", "log1p_cp10k")
    assert expression(kept).scale == "log1p_cp10k"


@pytest.mark.parametrize("wrong", ["counts", "log1p of counts per million"])
def test_declared_log_that_is_none(section, wrong):
    if wrong != "counts":
        section.X = expression(section).normalised(1e6)
    declare_scale(section, "X", "log1p_cp10k")
    with pytest.raises(ValueError, match=r"cannot be log1p of counts per 10,000.*uns\['histoquilt'\]"):
        expression(section)


def test_declared_counts_that_were_logged_since(section):
    """What happens when somebody reads with histoquilt, and normalises with scanpy before the domains."""
    declare_scale(section, "X", "counts")
    logged(section)
    with pytest.raises(ValueError, match=r"X is declared counts, but looks log-transformed.*changed after"):
        expression(section)


def test_declared_counts_with_fractions_are_believed_and_told(section):
    section.X = csr_matrix(section.X * np.float32(10.5))  # as ambient RNA removal leaves them
    declare_scale(section, "X", "counts")
    with pytest.warns(UserWarning, match="declared counts, but holds fractions") as caught:
        assert expression(section).scale == "counts"
    assert Path(caught[0].filename) == Path(__file__)


@pytest.mark.parametrize("scale", ["counts", "log1p_cp10k"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_declared_matrix_with_impossible_values(section, scale, value):
    section.X[3, 3] = value
    declare_scale(section, "X", scale)
    with pytest.raises(ValueError, match=f"declared {scale}, but holds NaN, infinite or negative"):
        expression(section)


def test_unknown_declaration(section):
    section.uns["histoquilt"] = {"scale": {"X": "cpm"}}
    with pytest.raises(ValueError, match="is 'cpm'; known scales are counts, log1p_cp10k"):
        expression(section)


def with_value(value):
    def change(x):
        x[3, 3] = value
        return x

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_value(-2), r"negative values \(smallest -2\).*layers\['counts'\]"),
        (with_value(np.nan), "NaN or infinite"),
        (with_value(np.inf), "NaN or infinite"),
        (np.log1p, r"looks log-transformed.*uns\['histoquilt'\]"),
        (lambda x: x * 7.5, "holds fractions, so it was normalised"),
        (np.zeros_like, "all zero: no spot has a single count"),
    ],
)
@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_undeclared_matrix_that_holds_no_counts(section, change, words, form):
    section.X = form(change(dense(section)))
    with pytest.raises(ValueError, match=words):
        expression(section)


@pytest.mark.parametrize("scale", ["counts", "log1p_cp10k"])
def test_declared_matrix_that_is_all_zero(section, scale):
    section.X.data[:] = 0
    declare_scale(section, "X", scale)
    with pytest.raises(ValueError, match="X is all zero"):
        expression(section)


def test_no_genes():
    adata = AnnData(obs=pd.DataFrame(index=["a", "b"]), obsm={"X_pca": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"no expression.*use_rep=.*'X_pca'"):
        expression(adata)


@pytest.mark.parametrize("name", ["", "  ", None, np.nan])
def test_genes_without_names(section, name):
    names = section.var_names.tolist()
    names[4] = name
    adata = AnnData(section.X, var=pd.DataFrame(index=names))
    with pytest.raises(ValueError, match="1 of 60 genes have no name"):
        expression(adata)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes(section):
    section.var_names = ["g1", *section.var_names[1:]]
    with pytest.raises(ValueError, match=r"Gene names must be unique; repeated: 'g1'.*var_names_make_unique"):
        expression(section)


def test_empty_spots_and_genes_are_told_and_kept(section):
    x = dense(section)
    x[[2, 5]] = 0
    x[:, [1, 2, 3]] = 0
    section.X = csr_matrix(x)
    with pytest.warns(UserWarning, match="2 of 120 spots have no counts") as caught:
        found = expression(section)
    assert any("3 of 60 genes have no counts" in str(w.message) for w in caught)
    assert {Path(w.filename) for w in caught} == {Path(__file__)}
    assert found.matrix.shape == (120, 60)


def test_zeros_that_are_stored_are_still_zeros(section):
    section.X.data[section.X.indptr[0] : section.X.indptr[1]] = 0
    n_stored = section.X.nnz
    with pytest.warns(UserWarning, match="1 of 120 spots have no counts"):
        found = expression(section)
    assert found.matrix.data.all()
    assert section.X.nnz == n_stored, "the user's matrix was changed"


def test_good_input_says_nothing(section):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expression(section)


def test_normalised_by_hand():
    counts = Expression(csr_matrix(np.array([[1, 3], [0, 0], [5, 0]], np.float32)), ["a", "b"], "counts", "X")
    plain = counts.normalised(100, log=False)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain.toarray(), [[25, 75], [0, 0], [100, 0]])
    logs = counts.normalised()
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs.toarray(), np.log1p([[2500, 7500], [0, 0], [10000, 0]]), rtol=1e-6)
    np.testing.assert_array_equal(counts.matrix.toarray(), [[1, 3], [0, 0], [5, 0]])


def test_normalised_is_scanpys(section):
    import scanpy as sc

    expected = section.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(expression(section).normalised().toarray(), dense(expected), rtol=1e-5)
