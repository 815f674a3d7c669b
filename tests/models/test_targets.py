import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.models.expression._targets import Measured, check_panel, choose_panel, measure
from histoquilt.study import Section


def _section(counts, genes):
    adata = AnnData(csr_matrix(np.asarray(counts, dtype=np.float32)))
    adata.var_names = genes
    return adata


def test_counts_per_ten_thousand_are_over_all_genes_of_the_section():
    measured = measure(Section("s", _section([[1, 3, 6], [0, 5, 5]], ["a", "b", "c"])))
    np.testing.assert_allclose(measured.of(["b"])[:, 0], np.log1p([3000, 5000]), rtol=1e-6)
    np.testing.assert_allclose(measured.depth, [10, 10])


def test_a_declared_log_matrix_is_taken_as_it_is():
    adata = _section([[1.5, 0.5], [0.0, 2.0]], ["a", "b"])
    adata.uns["histoquilt"] = {"scale": {"X": "log1p_cp10k"}}
    measured = measure(Section("s", adata))
    np.testing.assert_array_equal(measured.of(["b", "a"]), np.array([[0.5, 1.5], [2.0, 0.0]], dtype=np.float32))
    assert measured.depth is None


def test_an_undeclared_log_matrix_is_refused():
    with pytest.raises(ValueError, match="looks log-transformed"):
        measure(Section("s", _section([[1.5, 0.5], [0.25, 2.0]], ["a", "b"])))


def _measured(values, genes):
    return Measured(csr_matrix(np.asarray(values, dtype=np.float32)), list(genes), None)


def test_the_panel_joins_highest_mean_and_highest_variance_of_shared_genes():
    # "high" has the highest mean, "wild" the highest variance, "own" both in a single section
    one = _measured([[5, 0, 1, 9], [5, 4, 1, 0]], ["high", "wild", "dull", "own"])
    two = _measured([[5, 1, 0], [5, 1, 4]], ["high", "dull", "wild"])
    assert choose_panel({"one": one, "two": two}, 1) == ["high", "wild"]
    assert choose_panel({"two": two, "one": one}, 1) == ["high", "wild"]


def test_a_difference_between_sections_makes_no_gene_variable():
    one = _measured([[9, 1], [9, 2]], ["batch", "inside"])
    two = _measured([[0, 1], [0, 2]], ["batch", "inside"])
    assert choose_panel({"one": one, "two": two}, 1) == ["batch", "inside"]  # by its mean; "inside" by its variance


def test_sections_without_a_shared_gene():
    with pytest.raises(ValueError, match="share no gene"):
        choose_panel({"one": _measured([[1]], ["ESR1"]), "two": _measured([[1]], ["Esr1"])}, 1)


@pytest.mark.parametrize(
    ("genes", "words"),
    [([], "at least one gene"), (["a", "a"], "repeated: 'a'"), (["a", "z"], "'two' has not measured 1 of the 2")],
)
def test_a_panel_asked_for_is_checked(genes, words):
    measured = {"one": _measured([[1, 1]], ["a", "z"]), "two": _measured([[1]], ["a"])}
    with pytest.raises(ValueError, match=words):
        check_panel(measured, genes)
