import dataclasses

import anndata
import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.pp import Expression, expression, shared_variable_genes, variable_genes


def test_finds_the_genes_that_differ(source):
    # 10 of 60 genes differ between the halves of the tissue; chance would name 2 of them
    assert len(set(variable_genes(source(400), 10)) & set(range(10))) >= 9


@pytest.mark.filterwarnings("ignore")
def test_is_scanpys_choice(source):
    counts = source(300, 200)
    adata = AnnData(counts.matrix.copy())
    sc.pp.highly_variable_genes(adata, n_top_genes=50, flavor="seurat_v3")
    np.testing.assert_array_equal(variable_genes(counts, 50), np.flatnonzero(adata.var["highly_variable"]))
    logged = dataclasses.replace(counts, matrix=counts.normalised(), scale="log1p_cp10k")
    adata = AnnData(logged.matrix.copy())
    sc.pp.highly_variable_genes(adata, n_top_genes=50, flavor="seurat")
    np.testing.assert_array_equal(variable_genes(logged, 50), np.flatnonzero(adata.var["highly_variable"]))


def rare(n_spots: int = 1000) -> Expression:
    """Gene 0 in 49 spots, 1 in 50, 2 in 50 with 1 count each; 3 everywhere."""
    x = np.zeros((n_spots, 4), np.float32)
    x[:49, 0] = x[:50, 1] = 20
    x[:50, 2] = 1
    x[:, 3] = 2
    return Expression(csr_matrix(x), list("abcd"), "counts", "X")


def test_rare_genes_go_first():
    assert variable_genes(rare()).tolist() == [1, 2, 3]
    assert variable_genes(rare(), min_counts=51).tolist() == [1, 3]
    assert variable_genes(rare(), min_spots=51).tolist() == [3]
    assert variable_genes(rare(), min_spots=1, min_counts=0).tolist() == [0, 1, 2, 3]


def test_small_sections_ask_for_a_tenth_of_the_spots():
    assert variable_genes(rare(400)).tolist() == [0, 1, 2, 3]  # 40 spots will do
    few = Expression(csr_matrix(np.array([[20, 0], [0, 0], [0, 0]], np.float32)), ["a", "b"], "counts", "X")
    assert variable_genes(few).tolist() == [0]  # a tenth of three spots is still one


def test_counts_do_not_matter_where_there_are_none():
    logged = dataclasses.replace(rare(), scale="log1p_cp10k")
    assert variable_genes(logged, min_counts=1e9).tolist() == [1, 2, 3]


def test_no_gene_is_left():
    with pytest.raises(ValueError, match=r"at least 50 spots with at least 1e\+06 counts \(of 4 genes\).*min_spots"):
        variable_genes(rare(), min_counts=1e6)
    logged = dataclasses.replace(rare(100), matrix=csr_matrix((100, 4), dtype=np.float32), scale="log1p_cp10k")
    with pytest.raises(ValueError, match=r"at least 10 spots \(of 4 genes\)"):
        variable_genes(logged)


def test_tiny_sections_fall_back_on_dispersion():
    # many genes of one mean: the local regression is singular
    rng = np.random.default_rng(0)
    x = np.ones((12, 40), np.float32)
    x[:, :6] = rng.permuted(np.tile([0, 2], (6, 6)), axis=1).T
    x = np.vstack([x, x])
    tiny = Expression(csr_matrix(x), [f"g{i}" for i in range(40)], "counts", "X")
    with pytest.warns(UserWarning, match="mean-variance fit failed .*chosen by dispersion"):
        chosen = variable_genes(tiny, 6)
    logged = AnnData(tiny.normalised())
    sc.pp.highly_variable_genes(logged, n_top_genes=6, flavor="seurat")
    np.testing.assert_array_equal(chosen, np.flatnonzero(logged.var["highly_variable"]))


def test_toy_tissue():
    toy = hq.datasets.toy_section(n_spots=500, n_genes=400, seed=0)
    chosen = variable_genes(expression(toy), 100)
    assert len(chosen) == 100
    assert (np.diff(chosen) > 0).all()


# several sections


def three_sections() -> tuple[Expression, np.ndarray]:
    """Four spots each. Gene 0 is found in all sections, 1 in the first two, 2 in the first alone, 3 in none."""
    found = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    return Expression(csr_matrix(20 * found.repeat(4, axis=0)), list("abcd"), "counts", "X"), np.repeat(list("xyz"), 4)


def test_genes_of_most_sections_are_kept():
    source, sections = three_sections()
    assert shared_variable_genes(source, sections, 10).tolist() == [0, 1]  # in 3 and 2 of 3 sections
    two = dataclasses.replace(source, matrix=source.matrix[4:])
    assert shared_variable_genes(two, sections[4:], 10).tolist() == [0]  # more than half of two is both


def test_tissues_with_little_in_common_fill_up():
    """A tenth of the number asked for is kept at least, where so many were chosen anywhere."""
    source, sections = three_sections()
    assert shared_variable_genes(source, sections, 30).tolist() == [0, 1, 2]
    assert shared_variable_genes(source, sections, 3000).tolist() == [0, 1, 2]
    disjoint = Expression(csr_matrix(20 * np.eye(2, dtype=np.float32).repeat(4, axis=0)), ["a", "b"], "counts", "X")
    assert shared_variable_genes(disjoint, np.repeat([0, 1], 4), 5).tolist() == [0]  # never none at all


def test_one_section_votes_alone(source):
    counts = source(300)
    everywhere = np.zeros(300, int)
    np.testing.assert_array_equal(shared_variable_genes(counts, everywhere, 10), variable_genes(counts, 10))


def test_each_section_chooses_for_itself(source):
    """A gene that differs between sections but not within one is no variable gene; together it would be one."""
    counts = source(400)
    matrix = counts.matrix.toarray()
    matrix[::2, 40:50] *= 6
    counts = dataclasses.replace(counts, matrix=csr_matrix(matrix))
    mixed = np.tile(np.repeat(["a", "b"], 100), 2)  # each section has its share of every kind of spot
    stained = np.tile(["a", "b"], 200)
    assert len(set(shared_variable_genes(counts, mixed, 20)) & set(range(40, 50))) >= 8
    assert len(set(shared_variable_genes(counts, stained, 20)) & set(range(40, 50))) <= 3  # of 10 that chance fills
    assert len(set(shared_variable_genes(counts, stained, 20)) & set(range(10))) >= 8


@pytest.mark.parametrize("as_type", [str, object])
def test_a_section_without_genes_is_named(as_type):
    source, sections = three_sections()
    empty = dataclasses.replace(source, matrix=csr_matrix(np.vstack([source.matrix[:8].toarray(), np.zeros((4, 4))])))
    with pytest.raises(ValueError, match=r"^Section 'z': No gene is found in at least 1 spots"):
        shared_variable_genes(empty, sections.astype(as_type), 10)


@pytest.mark.real_data
@pytest.mark.parametrize("path", ["dlpfc/151673.h5ad", "als_spinal_cord/L6CN51_E1_2.h5ad"])  # the second: 34 spots
@pytest.mark.filterwarnings("ignore")
def test_real_sections(data_dir, path):
    chosen = variable_genes(expression(anndata.read_h5ad(data_dir / path)), 500)
    assert len(np.unique(chosen)) == 500
