"""Nested levels refine each other exactly, in one section and across sections; wrong input is refused."""

from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pytest

from histoquilt.datasets import toy_section
from histoquilt.io import split_sections
from histoquilt.tl import domain_tree, integrate_sections, spatial_domains


def planted(seed=0, sizes=(300, 120, 120)):
    """Three domains, the first of two parts side by side."""
    rng = np.random.default_rng(seed)
    means = 9 * np.eye(4)[:, [0, 1, 2, 3]]
    parts = np.repeat(np.arange(4), [sizes[0] // 2, sizes[0] // 2, *sizes[1:]])
    x = means[parts] + rng.normal(size=(len(parts), 4))
    adata = anndata.AnnData(obs=pd.DataFrame(index=[f"s{i}" for i in range(len(parts))]))
    adata.obsm["X_domains"] = x
    adata.obsm["spatial"] = np.column_stack(
        [rng.uniform(0, 10, len(parts)), 10 * parts + rng.uniform(0, 10, len(parts))]
    )
    adata.obs["domain"] = pd.Categorical(np.array(["1", "1", "2", "3"])[parts])
    adata.obs["part"] = parts
    return adata


def assert_refines(obs, finer, coarser):
    assert obs.groupby(finer, observed=True)[coarser].nunique().max() == 1


def levels_of(adata):
    return adata.uns["histoquilt"]["domain_tree"]["levels"]


def test_every_level_refines_the_coarser_ones(result):
    before = result.obs["domain"].copy()
    domain_tree(result)
    pd.testing.assert_series_equal(result.obs["domain"], before)
    keys = levels_of(result)["key"].tolist()
    assert keys == ["domain_coarse_2", "domain_coarse_3", "domain_coarse_4", "domain", "domain_fine"]
    for number, key in enumerate(keys[:3], start=2):
        assert result.obs[key].nunique() == number
    for coarser, finer in pairwise(keys):
        assert_refines(result.obs, finer, coarser)
    for name, members in result.obs.groupby("domain_coarse_2", observed=True)["domain"].unique().items():
        assert name.split("+") == sorted(members)


def test_parts_are_named_within_their_domain_from_top_to_bottom():
    adata = planted()
    domain_tree(adata, seed=1)
    assert adata.obs["domain_fine"].cat.categories.tolist() == ["1.1", "1.2", "2", "3"]
    assert (adata.obs["domain_fine"][adata.obs["part"] == 0] == "1.1").mean() > 0.99
    assert_refines(adata.obs, "domain_fine", "domain")
    parts = adata.uns["histoquilt"]["domain_tree"]["parts"].set_index("domain")
    assert parts["n_parts"].to_dict() == {"1": 2, "2": 1, "3": 1}
    assert parts.loc["1", "stability"] > 0.95
    assert levels_of(adata).set_index("key").loc["domain", "stability"] < 1  # refits may cut the first domain


def test_colours_are_those_of_the_largest_member_and_shades_of_the_domain():
    adata = planted()
    adata.uns["domain_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    domain_tree(adata)
    coarse = dict(zip(adata.obs["domain_coarse_2"].cat.categories, adata.uns["domain_coarse_2_colors"], strict=True))
    [merged] = [name for name in coarse if "+" in name]
    assert coarse[merged] == ("#ff0000" if "1" in merged else "#00ff00")
    assert adata.uns["domain_fine_colors"].tolist() == ["#a60000", "#ff8080", "#00ff00", "#0000ff"]


def test_the_same_seed_gives_the_same_tree_and_h5ad_keeps_it(result, tmp_path):
    other = result.copy()
    for adata in (result, other):
        domain_tree(adata, seed=3)
    assert (other.obs["domain_fine"] == result.obs["domain_fine"]).all()
    result.write_h5ad(tmp_path / "tree.h5ad")
    read = anndata.read_h5ad(tmp_path / "tree.h5ad")
    for name in ("levels", "nodes", "merges", "parts"):
        written, tree = result.uns["histoquilt"]["domain_tree"][name], read.uns["histoquilt"]["domain_tree"][name]
        assert tree.columns.tolist() == written.columns.tolist()
        assert tree.astype(str).to_numpy().tolist() == written.astype(str).to_numpy().tolist()
        other_tree = other.uns["histoquilt"]["domain_tree"][name]
        pd.testing.assert_frame_equal(written, other_tree)


def test_nodes_name_their_domain_of_the_level_before(result):
    domain_tree(result)
    nodes = result.uns["histoquilt"]["domain_tree"]["nodes"]
    keys = levels_of(result)["key"].tolist()
    for before, key in pairwise(keys):
        own = nodes[nodes["key"] == key].set_index("name")["parent"].to_dict()
        seen = result.obs.groupby(key, observed=True)[before].first().astype(str).to_dict()
        assert own == seen
    assert nodes.groupby("key")["n_spots"].sum().eq(result.n_obs).all()


def test_a_list_or_dict_of_sections_has_the_tree_of_all_spots_together():
    two = toy_section(n_spots=300, n_genes=200, n_domains=4, n_sections=2, seed=0)
    joint = integrate_sections(two, 4, mixing=False, progress=False)
    sections = split_sections(joint)
    domain_tree(joint, section_key="section")
    domain_tree(sections)
    domain_tree(list(sections.values()))
    for name, section in sections.items():
        own = joint.obs.loc[joint.obs["section"] == name]
        for key in ("domain_coarse_2", "domain_coarse_3", "domain_fine"):
            assert section.obs[key].tolist() == own[key].tolist()
            assert section.obs[key].cat.categories.tolist() == own[key].cat.categories.tolist()


def test_unlabelled_spots_stay_unlabelled_and_empty_domains_are_left_out():
    adata = planted()
    adata.obs["domain"] = adata.obs["domain"].cat.add_categories(["4"]).where(np.arange(adata.n_obs) >= 20)
    domain_tree(adata)
    assert levels_of(adata)["key"].tolist() == ["domain_coarse_2", "domain", "domain_fine"]
    assert adata.obs[["domain_coarse_2", "domain_fine"]].isna().sum().tolist() == [20, 20]


def test_chosen_levels_only_and_a_second_tree_replaces_the_first(result):
    domain_tree(result)
    result.obs["domain_coarse_9"] = "mine"
    domain_tree(result, levels=[3], fine=False)
    assert levels_of(result)["key"].tolist() == ["domain_coarse_3", "domain"]
    levels = {key for key in result.obs if key.startswith(("domain_coarse", "domain_fine"))}
    assert levels == {"domain_coarse_3", "domain_coarse_9"}
    assert "domain_fine_colors" not in result.uns


def test_new_domains_remove_the_levels_of_the_old_ones(result, small_config):
    domain_tree(result, fine=False)
    spatial_domains(result, 3, config=small_config, progress=False, denoise=False)
    assert [key for key in result.obs if "coarse" in key] == []
    assert "domain_tree" not in result.uns["histoquilt"]


def test_large_data_are_split_on_a_sample(monkeypatch):
    monkeypatch.setattr("histoquilt.cluster._spatial_sample.SAMPLE_ABOVE", 200)
    adata = planted()
    domain_tree(adata)
    assert adata.obs["domain_fine"].cat.categories.tolist() == ["1.1", "1.2", "2", "3"]


@pytest.mark.parametrize("levels", [[3], [1], [2, 7]])
def test_levels_beyond_the_tree_are_refused(levels):
    with pytest.raises(ValueError, match=r"beyond the tree: there are 3 domains, so coarser levels are from 2 to 2"):
        domain_tree(planted(), levels=levels)


def test_missing_domains_and_embedding_are_named():
    with pytest.raises(KeyError, match=r"'domain' is not in adata.obs .*Find domains first"):
        domain_tree(anndata.AnnData(np.ones((3, 2))))
    adata = planted()
    with pytest.raises(KeyError, match=r"'X_pca' is not in adata.obsm"):
        domain_tree(adata, use_rep="X_pca")
    adata.obs["domain"] = pd.Categorical([None] * adata.n_obs)
    with pytest.raises(ValueError, match="No spot has a domain"):
        domain_tree(adata)


def test_domains_that_the_embedding_cannot_distinguish_are_refused():
    adata = planted()
    adata.obsm["X_domains"][:] = 1.0
    with pytest.raises(ValueError, match="The 3 domains cannot be distinguished in the embedding at any level"):
        domain_tree(adata)


def test_sections_of_different_embeddings_are_refused():
    first, second = planted(), planted()
    second.obsm["X_domains"] = second.obsm["X_domains"][:, :3]
    with pytest.raises(ValueError, match=r"differs in width between sections .*were not found together"):
        domain_tree([first, second])
    with pytest.raises(ValueError, match="There is no section"):
        domain_tree([])
    with pytest.raises(ValueError, match="n_resamples= must be at least 1"):
        domain_tree(first, n_resamples=0)


def test_merging_writes_both_labelings(small_config):
    adata = toy_section(n_spots=500, n_genes=200, n_domains=4, seed=0)
    spatial_domains(adata, 4, clustering="merge", config=small_config, progress=False, denoise=False)
    mixture = adata.obs["domain_mixture"].copy()
    record = adata.uns["histoquilt"]["domain"]
    assert record["method"] == "merged mixtures EEE"
    assert 0 < record["agreement_with_mixture"] <= 1
    assert adata.obs["domain"].value_counts().min() >= 0.02 * adata.n_obs  # refinement moves single spots
    spatial_domains(adata, 4, config=small_config, progress=False, denoise=False)
    assert "domain_mixture" not in adata.obs
    overlap = pd.crosstab(mixture, adata.obs["domain"])
    assert (overlap.gt(0).sum(axis=1) == 1).all()  # the same labels under other names


def test_unknown_clustering_and_too_many_domains_are_refused(small_config):
    adata = toy_section(n_spots=100, n_genes=50, n_domains=2, seed=0)
    with pytest.raises(ValueError, match="clustering= must be 'mixture' or 'merge', got 'ward'"):
        spatial_domains(adata, 2, clustering="ward", progress=False)
    adata.obsm["X_pca"] = np.repeat(np.eye(4), 25, axis=0)
    with pytest.raises(ValueError, match="could be distinguished"):
        spatial_domains(adata, 30, use_rep="X_pca", clustering="merge", config=small_config, progress=False)
