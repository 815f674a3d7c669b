"""The dendrogram of nested domains and a map at each level."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from histoquilt.datasets import toy_section
from histoquilt.pl import domain_tree
from histoquilt.tl import domain_tree as nest


@pytest.fixture(scope="module")
def nested():
    adata = toy_section(n_spots=300, n_genes=20, n_domains=4, n_sections=2, seed=0)
    true = adata.obs["domain_true"].astype("category").cat.codes.to_numpy() % 4
    adata.obsm["X_domains"] = 9 * np.eye(4)[true] + np.random.default_rng(0).normal(size=(adata.n_obs, 4))
    adata.obs["domain"] = pd.Categorical(np.array(["1", "1", "2", "3"])[true])
    nest(adata, section_key="section")
    return adata


def test_a_map_of_each_level_in_its_colours_for_each_section(nested):
    axes = domain_tree(nested)
    assert len(axes) == 1 + 2 * 3
    titles = [ax.get_title() for ax in axes[1:4]]
    assert [title.split(" (")[0] for title in titles] == ["2 domains", "3 domains", "fine: 4 domains"]
    assert all(" (ARI 0." in title or " (ARI 1." in title for title in titles)
    assert [axes[1].get_ylabel(), axes[4].get_ylabel()] == nested.obs["section"].unique().tolist()
    first = nested[nested.obs["section"] == nested.obs["section"].iloc[0]]
    for ax, key in zip(axes[1:4], ("domain_coarse_2", "domain", "domain_fine"), strict=True):
        nodes = nested.uns["histoquilt"]["domain_tree"]["nodes"]
        color = nodes[nodes["key"] == key].set_index("name")["color"]
        drawn = [to_hex(face) for face in ax.collections[-1].get_facecolor()]
        assert drawn == color[first.obs[key].astype(str)].tolist()


def test_dots_are_joined_to_their_parts(nested):
    tree = domain_tree(nested[nested.obs["section"] == nested.obs["section"].iloc[0]])[0]
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in tree.lines if line.get_marker() == "o"]
    assert [sum(x == column for x, _ in dots) for column in range(3)] == [2, 3, 4]
    ends = {tuple(np.column_stack(line.get_data())[-1]) for line in tree.lines if line.get_marker() == "None"}
    assert {dot for dot in dots if dot[0] > 0} <= ends
    names = {text.get_text() for text in tree.texts}
    assert {"1.1", "1.2"} <= names
    assert len({height for x, height in dots if x == 2}) == 4


def test_few_levels_of_many(nested):
    axes = domain_tree(nested, n_levels=2)
    assert [ax.get_title().split(" (")[0] for ax in axes[1:3]] == ["2 domains", "fine: 4 domains"]
    with pytest.raises(ValueError, match="n_levels must be at least 2, got 1"):
        domain_tree(nested, n_levels=1)


def test_without_a_tree_it_says_how_to_make_one(nested):
    flat = nested.copy()
    del flat.obs["domain_fine"]
    with pytest.raises(KeyError, match=r"'domain_fine' is not in adata.obs .*histoquilt.tl.domain_tree"):
        domain_tree(flat)
    del flat.uns["histoquilt"]["domain_tree"]
    with pytest.raises(KeyError, match=r"'domain_tree' is not in .*histoquilt.tl.domain_tree\(adata\)"):
        domain_tree(flat)
