"""Stability of the domain of every spot."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import histoquilt as hq
from histoquilt.tl import domain_stability, domain_tree, spatial_domains


def stripes(seed: int = 0) -> ad.AnnData:
    """Return 30 x 30 spots in three stripes; from column 7 to 13 the first two mix gradually."""
    rng = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(900), 30)
    second = np.where(x < 20, np.clip((x - 6) / 8, 0, 1), 0)
    profiles = 2 * np.exp(0.3 * rng.normal(size=(3, 80)))
    shares = np.stack([np.where(x < 20, 1 - second, 0), second, (x >= 20).astype(float)], axis=1)
    counts = rng.poisson(shares @ profiles)
    adata = ad.AnnData(counts.astype(np.float32), obs={"x": x}, obsm={"spatial": np.stack([x, y], 1).astype(float)})
    return adata


@pytest.fixture(scope="module")
def _found():
    adata = stripes()
    spatial_domains(adata, 3, progress=False, denoise=False)
    domain_tree(adata, n_resamples=2)
    before = adata.copy()
    domain_stability(adata, n_resamples=4, n_splits=1)
    return before, adata


@pytest.fixture
def found(_found):
    return tuple(adata.copy() for adata in _found)


def test_an_ambiguous_border_is_less_stable_than_the_inside(found):
    _, adata = found
    stability, x = adata.obs["domain_stability"], adata.obs["x"]
    border, inside = x.between(9, 11), x.between(1, 5) | x.between(15, 17) | (x > 22)
    assert stability[inside].mean() > 0.9
    assert stability[border].mean() < stability[inside].mean() - 0.05
    assert stability.between(0, 1).all()


def test_only_stability_is_written(found):
    before, adata = found
    new = set(adata.obs) - set(before.obs)
    levels = adata.uns["histoquilt"]["domain_stability"]["levels"]
    assert new == {f"{key}_stability" for key in levels["key"]} >= {"domain_stability", "domain_coarse_2_stability"}
    pd.testing.assert_frame_equal(adata.obs[list(before.obs)], before.obs)
    np.testing.assert_array_equal(adata.obsm["X_domains"], before.obsm["X_domains"])
    assert (adata.X != before.X).nnz == 0 if hasattr(adata.X, "nnz") else (adata.X == before.X).all()


def test_the_record_names_sources_and_means_of_levels(found):
    record = found[1].uns["histoquilt"]["domain_stability"]
    assert record["sources"] == ["spots", "seeds", "counts"]
    levels = record["levels"].set_index("key")
    for key, row in levels.iterrows():
        assert row["stability"] == pytest.approx(found[1].obs[f"{key}_stability"].mean())
        assert row["stability"] == pytest.approx(row[record["sources"]].mean())


def test_a_seed_gives_the_same_twice_and_sources_do_not_depend_on_each_other(found):
    before, _ = found
    alone, again = before.copy(), before.copy()
    domain_stability(alone, sources=["seeds"], n_resamples=3)
    domain_stability(again, sources=["spots", "seeds"], n_resamples=3)
    tables = [one.uns["histoquilt"]["domain_stability"]["levels"] for one in (alone, again)]
    pd.testing.assert_series_equal(tables[0]["seeds"], tables[1]["seeds"])
    twice = before.copy()
    domain_stability(twice, sources=["spots", "seeds"], n_resamples=3)
    pd.testing.assert_series_equal(twice.obs["domain_stability"], again.obs["domain_stability"])
    domain_stability(twice, sources=["spots", "seeds"], n_resamples=3, seed=1)
    assert (twice.obs["domain_stability"] != again.obs["domain_stability"]).any()


def test_settings_survive_a_file(found, tmp_path):
    before, _ = found
    before.write_h5ad(tmp_path / "found.h5ad")
    stored = ad.read_h5ad(tmp_path / "found.h5ad")
    for one in (before, stored):
        domain_stability(one, sources=["counts"], n_splits=1)
    pd.testing.assert_series_equal(before.obs["domain_stability"], stored.obs["domain_stability"])
    stored.write_h5ad(tmp_path / "stable.h5ad")
    assert ad.read_h5ad(tmp_path / "stable.h5ad").uns["histoquilt"]["domain_stability"]["sources"].tolist() == [
        "counts"
    ]


def test_new_domains_and_new_levels_remove_it(found):
    _, adata = found
    domain_tree(adata, fine=False, n_resamples=1)
    assert not [column for column in adata.obs if column.endswith("_stability")]
    domain_stability(adata, sources=["seeds"], n_resamples=1)
    spatial_domains(adata, 3, progress=False, denoise=False, seed=1)
    assert not [column for column in adata.obs if column.endswith("_stability")]
    assert "domain_stability" not in adata.uns["histoquilt"]


def test_a_joint_study_with_unlabelled_spots():
    joint = hq.datasets.toy_section(n_spots=300, n_genes=120, n_domains=3, n_sections=2, seed=0)
    joint = hq.tl.integrate_sections(joint, 3, links="expression", mixing=False, denoise=False, progress=False)
    joint.obs.loc[joint.obs_names[:5], "domain"] = np.nan
    domain_stability(joint, section_key="section", n_resamples=2, n_splits=1)
    assert joint.uns["histoquilt"]["domain_stability"]["sources"] == ["spots", "seeds", "counts"]
    stability = joint.obs["domain_stability"].to_numpy()
    assert np.isnan(stability[:5]).all()
    assert stability[5:].mean() > 0.7


def test_merged_domains_are_refitted_by_merging():
    adata = stripes()
    spatial_domains(adata, 3, clustering="merge", progress=False, denoise=False)
    domain_stability(adata, sources=["spots"], n_resamples=3)
    assert adata.obs["domain_stability"].mean() > 0.7


@pytest.mark.parametrize("change", ["rep", "scale", "record", "large"])
def test_without_counts_to_split_the_other_sources_are_used(found, change, caplog, monkeypatch):
    adata, _ = found
    if change == "rep":
        adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(900, 5)) + adata.obsm["X_domains"][:, :5]
        spatial_domains(adata, 3, use_rep="X_pca", progress=False)
        reason = "the domains were not found from genes"
    elif change == "scale":
        adata.X = np.log1p(1e4 * adata.X / np.maximum(adata.X.sum(axis=1, keepdims=True), 1))
        adata.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
        reason = "X does not hold raw counts"
    elif change == "record":
        del adata.uns["histoquilt"]["domain"]
        reason = "does not name the model"
    else:
        monkeypatch.setattr("histoquilt.tl.nested._count_halves._MOST_SPOTS", 800)
        reason = "more than 800 spots"
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        domain_stability(adata, n_resamples=1)
    assert adata.uns["histoquilt"]["domain_stability"]["sources"] == ["spots", "seeds"]
    assert "Stability by resampled spots and seeds; counts are not split: " in caplog.text
    assert reason in caplog.text
    if change != "large":
        with pytest.raises(ValueError, match=r"Counts cannot be split: .*Leave 'counts' out of sources="):
            domain_stability(adata, sources=["spots", "counts"])


def test_bad_input(found):
    adata, _ = found
    with pytest.raises(KeyError, match="domain_key"):
        domain_stability(adata, domain_key="region")
    with pytest.raises(KeyError, match="X_none"):
        domain_stability(adata, use_rep="X_none")
    with pytest.raises(ValueError, match="sources= must be some of 'spots', 'seeds', 'counts', got 'spots'"):
        domain_stability(adata, sources="spots")
    with pytest.raises(ValueError, match="sources= must be some of"):
        domain_stability(adata, sources=["genes"])
    with pytest.raises(ValueError, match="n_resamples= must be at least 1, got 0"):
        domain_stability(adata, n_resamples=0)
    with pytest.raises(ValueError, match=r"20 spots are too few to resample 3 domains: .*24, are needed"):
        domain_stability(adata[adata.obs["domain"].cat.codes.argsort().to_numpy()[::45]].copy())
    adata.obs["domain"] = pd.Categorical(["1"] * 900)
    with pytest.raises(ValueError, match="two domains or more, and obs\\['domain'\\] has 1: a single one always comes"):
        domain_stability(adata)
