"""PAGA joins domains that touch in the embedding; pseudotime runs from the root along them."""

import sys

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from histoquilt.tl import paga


@pytest.fixture
def line(embedded) -> AnnData:
    """Spots along a line in the embedding, cut into four domains of 60."""
    pytest.importorskip("igraph")
    rng = np.random.default_rng(0)
    along = np.sort(rng.uniform(0, 40, 240))
    adata = embedded(np.column_stack([along, rng.normal(0, 0.5, (240, 3))]))
    adata.obs["domain"] = pd.Categorical(np.repeat(["1", "2", "3", "4"], 60))
    return adata


def test_neighbours_on_the_line_are_joined(line):
    assert paga(line) is None
    joined = line.uns["paga"]["connectivities"].toarray()
    assert joined.shape == (4, 4)
    assert (joined[[0, 1, 2], [1, 2, 3]] > 0.02).all()
    assert joined[[0, 0, 1], [2, 3, 3]].max() == 0
    assert line.uns["paga"]["groups"] == "domain"
    assert set(line.uns) == {"paga", "histoquilt"}
    assert list(line.obs) == ["domain"]


@pytest.mark.parametrize("root", ["1", "4"])
def test_pseudotime_runs_from_the_root(line, root):
    paga(line, root=root)
    pseudotime = line.obs["domain_pseudotime"]
    assert pseudotime.min() == 0
    assert line.obs.loc[pseudotime.idxmin(), "domain"] == root
    means = pseudotime.groupby(line.obs["domain"], observed=True).mean()
    ends = ("1", "4") if root == "1" else ("4", "1")
    assert (means.idxmin(), means.idxmax()) == ends


def test_same_seed_same_result(line):
    paga(line, root="1", seed=2)
    first = line.obs["domain_pseudotime"].copy()
    paga(line, root="1", seed=2, key_added="again")
    assert (line.obs["again"] == first).all()


def test_unlabelled_spots_have_no_pseudotime(line):
    line.obs.loc[line.obs_names[:3], "domain"] = np.nan
    paga(line, root="2")
    assert line.obs["domain_pseudotime"].isna().sum() == 3


def test_what_no_path_reaches_has_none(line):
    line.obsm["X_domains"][line.obs["domain"] == "4"] += 1000
    paga(line, root="1")
    apart = (line.obs["domain"] == "4").to_numpy()
    assert line.obs["domain_pseudotime"][apart].isna().all()
    assert line.obs["domain_pseudotime"][~apart].notna().all()


def test_bad_input(line, monkeypatch):
    with pytest.raises(KeyError, match=r"'no' is not in adata\.obs .*domain_key="):
        paga(line, domain_key="no")
    with pytest.raises(KeyError, match=r"'X_no' is not in adata\.obsm .*use_rep="):
        paga(line, use_rep="X_no")
    with pytest.raises(ValueError, match=r"root='9' is not a domain of obs\['domain'\] \(found: '1', '2'"):
        paga(line, root="9")
    line.obs["one"] = "a"
    with pytest.raises(ValueError, match=r"A trajectory joins domains, and obs\['one'\] holds 1"):
        paga(line, domain_key="one")
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(ImportError, match=r"PAGA needs igraph.*histoquilt\[leiden\]"):
        paga(line)
