"""Wrong sections that reach ``spatial_domains``: an error in words, or a warning and no spot lost."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from histoquilt.datasets import toy_section
from histoquilt.tl import spatial_domains


@pytest.fixture
def section():
    return toy_section(n_spots=150, n_genes=60, n_domains=3, seed=0)


def no_spatial(adata):
    del adata.obsm["spatial"]


def nan_coordinates(adata):
    adata.obsm["spatial"][[3, 7], 0] = np.nan


def infinite_coordinates(adata):
    adata.obsm["spatial"][5, 1] = np.inf


def equal_coordinates(adata):
    adata.obsm["spatial"][:] = 7.0


def repeated_barcodes(adata):
    adata.obs_names = ["twin", "twin", *adata.obs_names[2:]]


def negative(adata):
    adata.X = csr_matrix(adata.X.toarray() - 1)


def fractional(adata):
    adata.X = adata.X * 40.5


def logged(adata):
    adata.X = adata.X.log1p()


def all_zero(adata):
    adata.X = csr_matrix(adata.shape, dtype=np.float32)


def nameless_genes(adata):
    adata.var_names = ["", *adata.var_names[1:]]


def no_genes(adata):
    adata.X = None


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (
            no_spatial,
            KeyError,
            r"'spatial' is not in adata\.obsm \(found: nothing\).*read_visium, or pass spatial_key=",
        ),
        (nan_coordinates, ValueError, "2 of 150 spots have NaN or infinite coordinates.*Drop them"),
        (infinite_coordinates, ValueError, "1 of 150 spots have NaN or infinite coordinates"),
        (equal_coordinates, ValueError, "All 150 spots have the same coordinates.*true positions"),
        (repeated_barcodes, ValueError, r"barcodes\) must be unique; repeated: 'twin'.*obs_names_make_unique"),
        (negative, ValueError, "X holds negative values.*Raw counts are needed"),
        (fractional, ValueError, "X holds fractions, so it was normalised.*Raw counts are needed"),
        (logged, ValueError, "X looks log-transformed.*declare it: .*log1p_cp10k"),
        (all_zero, ValueError, "X is all zero: no spot has a single count"),
        (nameless_genes, ValueError, "1 of 60 genes have no name"),
        (no_genes, ValueError, "has no expression.*Pass use_rep="),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_refused(section, small_config, spoil, error, words):
    section.uns.pop("histoquilt")  # nothing is declared, as in most files
    spoil(section)
    columns = list(section.obs)
    with pytest.raises(error, match=f"(?s){words}"):
        spatial_domains(section, 3, config=small_config, progress=False)
    assert list(section.obs) == columns  # nothing half-done is left behind
    assert not section.obsp


@pytest.mark.parametrize(
    ("n_domains", "error", "words"),
    [
        (0, ValueError, "n_domains must be at least 1, got 0"),
        (-2, ValueError, "n_domains must be at least 1, got -2"),
        (151, ValueError, "n_domains is 151, but there are only 150 spots. Ask for fewer domains"),
        (2.5, TypeError, "n_domains must be a whole number, got 2.5"),
        ("three", TypeError, "n_domains must be a whole number, got 'three'"),
        (True, TypeError, "n_domains must be a whole number, got True"),
        ([2, 5], TypeError, r"n_domains must be a whole number, got \[2, 5\]"),
        ((5, 3), ValueError, r"range of n_domains is two whole numbers from 2 up, e\.g\. \(5, 12\), got \(5, 3\)"),
        ((1, 3), ValueError, r"two whole numbers from 2 up, .* got \(1, 3\)"),
        ((3,), ValueError, r"two whole numbers from 2 up, .* got \(3,\)"),
        ((2, 4.5), ValueError, r"two whole numbers from 2 up, .* got \(2, 4\.5\)"),
        ((2, 151), ValueError, "n_domains is 151, but there are only 150 spots"),
    ],
)
def test_numbers_of_domains(section, n_domains, error, words):
    with pytest.raises(error, match=words):
        spatial_domains(section, n_domains, progress=False)


def test_one_spot(section, small_config):
    with pytest.raises(ValueError, match="has 1 of the 3 spots that a spatial graph needs"):
        spatial_domains(section[:1].copy(), 1, config=small_config, progress=False)


def test_not_an_anndata(section):
    with pytest.raises(TypeError, match=r"Expected an AnnData, got str\. Read files with histoquilt\.io"):
        spatial_domains("section.h5ad", 3)


def test_every_spot_has_the_same_expression(section, small_config):
    section.X = np.tile(np.arange(1, 61, dtype=np.float32), (150, 1))
    with pytest.raises(ValueError, match="All 150 spots have the same expression, so domains cannot be distinguished"):
        spatial_domains(section, 3, config=small_config, progress=False)
    section.obsm["X_own"] = np.full((150, 3), 0.1)
    with pytest.raises(ValueError, match=r"All 150 spots have the same values in obsm\['X_own'\]"):
        spatial_domains(section, 3, use_rep="X_own", config=small_config, progress=False)


def test_fewer_kinds_of_spots_than_domains(section, small_config):
    """Two kinds of spots, far from each other, and 40 domains asked for: the number found is told, or given exactly."""
    section.obsm["X_own"] = np.repeat(np.eye(2), 75, axis=0)
    section.obsm["spatial"][75:] += 1e5
    with (
        pytest.warns(UserWarning, match="pieces"),
        pytest.raises(ValueError, match="40 domains were asked for, but only"),
    ):
        spatial_domains(section, 40, use_rep="X_own", config=small_config, progress=False)


# warned about and carried on with: every spot gets a domain


def some_zero_spots(adata):
    counts = adata.X.toarray()
    counts[[2, 5, 8]] = 0
    adata.X = csr_matrix(counts)


def some_zero_genes(adata):
    counts = adata.X.toarray()
    counts[:, :4] = 0
    adata.X = csr_matrix(counts)


def doubled_coordinates(adata):
    adata.obsm["spatial"][1] = adata.obsm["spatial"][0]


def torn_tissue(adata):
    adata.obsm["spatial"][adata.obsm["spatial"][:, 0] > np.median(adata.obsm["spatial"][:, 0]), 0] += 1e4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (some_zero_spots, "3 of 150 spots have no counts; they are kept"),
        (some_zero_genes, "4 of 60 genes have no counts; they are left out"),
        (doubled_coordinates, "1 of 150 spots repeat the coordinates"),
        (torn_tissue, "form 2 separate pieces"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_warned_about_once(section, small_config, spoil, words):
    spoil(section)
    with pytest.warns(UserWarning, match=words) as said:
        spatial_domains(section, 3, config=small_config, progress=False)
    assert sum(words[:20] in str(warning.message) or words in str(warning.message) for warning in said) == 1
    assert section.obs["domain"].notna().all()
    assert section.obs["domain"].nunique() == 3
    assert np.isfinite(section.obsm["X_domains"]).all()
    assert np.isfinite(section.obsm["denoised"].to_numpy()).all()


def test_isolated_spots(section, small_config):
    from dataclasses import replace

    section.obsm["spatial"][[0, 1]] += [[5e4, 0], [0, 5e4]]
    with pytest.warns(UserWarning, match="2 of 150 spots have no neighbour"):
        spatial_domains(section, 3, config=replace(small_config, radius=150.0), progress=False)
    assert section.n_obs == 150
    assert section.obs["domain"].notna().all()
    assert section.obsp["spatial_connectivities"][[0, 1]].nnz == 0
