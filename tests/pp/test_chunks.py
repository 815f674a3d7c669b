"""Small chunks of spots give what the whole section gives in one; the limit is lowered to see it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy.sparse import csc_matrix, csr_matrix

from histoquilt.pp import (
    Expression,
    GeneFeatures,
    expression,
    row_chunks,
    shared_variable_genes,
    variable_genes,
)
from histoquilt.study._scale import declare_scale
from histoquilt.study.expression import _chunks
from histoquilt.study.expression._backed import BackedRows

N_SPOTS = 3000
SECTIONS = np.repeat(["b", "a", "c"], N_SPOTS // 3)


@pytest.fixture
def chunked(monkeypatch):
    """Chunks of about a hundred spots."""

    def force() -> None:
        monkeypatch.setattr(_chunks, "_CHUNK_VALUES", 100 * 60)

    return force


@pytest.fixture
def large(source) -> Expression:
    """Six patterns of genes, each of its own strength, so that the leading axes are well apart."""
    counts = source(N_SPOTS)
    rng = np.random.default_rng(1)
    rate = np.tile(rng.gamma(2.0, 1.5, 60) + 1, (N_SPOTS, 1))
    for pattern in range(6):
        genes = slice(10 * pattern, 10 * pattern + 3 + pattern)
        rate[:, genes] *= np.exp(rng.normal(size=(N_SPOTS, 1)) * (0.4 + 0.1 * pattern))
    return dataclasses.replace(counts, matrix=csr_matrix(rng.poisson(rate).astype(np.float32)))


def test_chunks_cover_every_spot_once(chunked):
    assert list(row_chunks(1500, 60)) == [slice(0, 1500)]
    chunked()
    rows = list(row_chunks(1550, 60))
    assert np.concatenate([np.arange(1550)[part] for part in rows]).tolist() == list(range(1550))
    assert max(part.stop - part.start for part in rows) == 100
    assert len(list(row_chunks(2000, 10**9))) == 2000  # never an empty chunk


@pytest.mark.parametrize("sections", [None, SECTIONS], ids=["one", "three"])
def test_principal_axes_are_the_same_up_to_sign(large, chunked, sections):
    whole, features, _ = GeneFeatures.fit(large, n_pcs=6, sections=sections)
    values, z = large.normalised().toarray(), np.empty(large.matrix.shape)
    for name in ["all"] if sections is None else ["a", "b", "c"]:
        rows = slice(None) if sections is None else sections == name
        z[rows] = np.clip((values[rows] - values[rows].mean(axis=0)) / values[rows].std(axis=0), -10, 10)
    exact = np.linalg.svd(z, full_matrices=False)[2][:6]
    chunked()
    parts, by_chunks, _ = GeneFeatures.fit(large, n_pcs=6, sections=sections)
    assert parts.genes == whole.genes
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-4)
    np.testing.assert_allclose(parts.std, whole.std, rtol=1e-4)
    signs = np.sign((parts.components * exact).sum(axis=1))
    np.testing.assert_allclose((parts.components * signs[:, None])[:3], exact[:3], atol=1e-3)
    alike = np.abs((parts.components * exact).sum(axis=1))  # the former by a randomised decomposition
    assert (alike[:5] > 0.99).all()
    np.testing.assert_allclose(parts.components, whole.components, atol=2e-3)
    signs = np.sign((parts.components[0] * whole.components[0]).sum())
    np.testing.assert_allclose(by_chunks[:, 0] * signs, features[:, 0], atol=2e-2)
    assert by_chunks.dtype == parts.components.dtype == np.float32
    assert parts.by_section == whole.by_section
    transformed, scaling = parts.transform(large, sections)
    np.testing.assert_array_equal(transformed, by_chunks)
    assert scaling.mean.shape == (1 if sections is None else 3, 60)


def test_the_size_of_chunks_changes_nothing(large, chunked, monkeypatch):
    chunked()
    _, features, _ = GeneFeatures.fit(large, n_pcs=6)
    _, again, _ = GeneFeatures.fit(large, n_pcs=6)
    np.testing.assert_array_equal(features, again)
    monkeypatch.setattr(_chunks, "_CHUNK_VALUES", 737 * 60)
    np.testing.assert_allclose(GeneFeatures.fit(large, n_pcs=6)[1], features, atol=1e-3)


@pytest.mark.parametrize("kind", ["pca", "hvg"])
@pytest.mark.parametrize("sections", [None, SECTIONS], ids=["one", "three"])
def test_transform_and_inverse_are_those_of_the_whole(large, chunked, kind, sections):
    fitted, *_ = GeneFeatures.fit(large, kind=kind, n_pcs=60, sections=sections, clip=np.inf)
    features, scaling = fitted.transform(large, sections)
    genes = fitted.inverse(features, scaling, ["g7", "g2"])
    chunked()
    by_chunks, same_scaling = fitted.transform(large, sections)
    np.testing.assert_allclose(by_chunks, features, atol=1e-3)
    np.testing.assert_allclose(same_scaling.std, scaling.std, rtol=1e-4)
    np.testing.assert_allclose(fitted.inverse(by_chunks, same_scaling, ["g7", "g2"]), genes, atol=1e-3)
    with pytest.raises(KeyError, match="Not among the 60 modelled genes: 'CD4'"):
        fitted.inverse(by_chunks, same_scaling, ["CD4"])


@pytest.mark.filterwarnings("ignore:The model knows")
@pytest.mark.parametrize("by_section", [False, True])
def test_missing_genes_count_as_average_in_chunks_too(large, chunked, by_section):
    sections = SECTIONS if by_section else None
    logged = dataclasses.replace(large, matrix=large.normalised(), scale="log1p_cp10k")
    fitted, *_ = GeneFeatures.fit(logged, n_pcs=6, sections=sections)
    fewer = dataclasses.replace(logged, matrix=logged.matrix[:, 5:][:, ::-1], genes=logged.genes[:4:-1])
    expected = fitted.transform(fewer, sections)[0]
    chunked()
    np.testing.assert_allclose(fitted.transform(fewer, sections)[0], expected, atol=1e-3)


@pytest.mark.parametrize("log", [True, False])
def test_normalised_copies_the_values_once(large, chunked, log):
    expected = large.normalised(1e6, log=log).toarray()
    before = large.matrix.copy()
    chunked()
    found = large.normalised(1e6, log=log)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)
    assert found.dtype == np.float32
    assert np.shares_memory(found.indices, large.matrix.indices)
    assert (large.matrix != before).nnz == 0, "the user's counts were changed"


def test_variable_genes_are_scanpys(chunked):
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(0, 1.2, 300)) * rng.gamma(1 / rng.uniform(0.05, 1, 300), size=(N_SPOTS, 300))
    counts = Expression(csr_matrix(rng.poisson(rate / 5).astype(np.float32)), list(map(str, range(300))), "counts", "X")
    whole, shared = variable_genes(counts, 80), shared_variable_genes(counts, SECTIONS, 80)
    chunked()
    np.testing.assert_array_equal(variable_genes(counts, 80), whole)
    np.testing.assert_array_equal(shared_variable_genes(counts, SECTIONS, 80), shared)


# files


@pytest.fixture
def stored(large, tmp_path):
    def write(matrix=None, scale: str = "counts") -> AnnData:
        adata = AnnData(large.matrix if matrix is None else matrix, var=pd.DataFrame(index=large.genes))
        declare_scale(adata, "X", scale)
        adata.write_h5ad(tmp_path / "large.h5ad")
        return read_h5ad(tmp_path / "large.h5ad", backed="r")

    return write


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix, lambda x: x.toarray()], ids=["csr", "csc", "dense"])
@pytest.mark.parametrize("sections", [None, SECTIONS], ids=["one", "three"])
def test_a_backed_section_gives_the_same_features(large, stored, chunked, form, sections):
    backed = stored(form(large.matrix))
    np.testing.assert_array_equal(expression(backed).matrix.toarray(), large.matrix.toarray())
    chunked()
    left_in_file = expression(backed, in_memory=False)
    assert isinstance(left_in_file.matrix, BackedRows) == (form is not csc_matrix)
    assert isinstance(expression(backed).matrix, csr_matrix)
    fitted, features, _ = GeneFeatures.fit(left_in_file, n_pcs=6, n_genes=40, sections=sections)
    expected, same, _ = GeneFeatures.fit(large, n_pcs=6, n_genes=40, sections=sections)
    assert fitted.genes == expected.genes
    np.testing.assert_array_equal(features, same)
    np.testing.assert_array_equal(left_in_file.normalised().toarray(), large.normalised().toarray())


def test_values_of_a_large_section_are_checked_chunk_by_chunk(large, stored, chunked):
    chunked()
    with pytest.raises(ValueError, match="X is all zero"):
        expression(stored(csr_matrix(large.matrix.shape, dtype=np.float32)), in_memory=False)
    bad = large.matrix.copy()
    bad.data[-1] = -2
    with pytest.raises(ValueError, match=r"X is declared counts, but holds NaN, infinite or negative"):
        expression(stored(bad), in_memory=False)
    with pytest.raises(ValueError, match=r"negative values \(smallest -2\)"):
        expression(AnnData(bad, var=pd.DataFrame(index=large.genes)))
    with pytest.raises(ValueError, match="cannot be log1p of counts per 10,000"):
        expression(stored(scale="log1p_cp10k"), in_memory=False)
    odd = large.matrix.toarray() * np.float32(40.5)
    odd[:1500] = 0
    odd[:, 7] = 0
    with pytest.warns(UserWarning, match="holds fractions") as caught:
        expression(stored(csr_matrix(odd)), in_memory=False)
    said = "\n".join(str(one.message) for one in caught if one.category is UserWarning)
    assert said.count("holds fractions") == 1
    assert "1,500 of 3,000 spots have no counts" in said
    assert "1 of 60 genes have no counts" in said
