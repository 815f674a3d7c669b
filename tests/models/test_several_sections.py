"""Several sections in one model: links between them, scaling of each, sections seen later, several networks."""

from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist

from histoquilt.datasets import toy_section
from histoquilt.gr import knn_adjacency, stack_links
from histoquilt.models import SpaMask, SpaMaskConfig, SpatialFactors, SpatialFactorsConfig

pytestmark = pytest.mark.filterwarnings("ignore:.* genes have no counts")
# what models say of several sections, before any difference between these is taken out of it
FACTORS = SpatialFactorsConfig(n_pcs=30, match_sections=False)
# a spot hears from two steps away, and from no farther
SMALL = SpaMaskConfig(
    n_hidden=32, n_latent=16, n_pcs=30, max_epochs=5, match_sections=False, n_neighbors=6, target_sum=1e4, log=True
)


@pytest.fixture(scope="module")
def two() -> AnnData:
    """Two serial sections of 150 spots, nowhere on the same place."""
    two = toy_section(n_spots=150, n_genes=80, n_domains=3, n_sections=2, seed=0)
    two.obsm["spatial"] = two.obsm["spatial"] + np.random.default_rng(0).uniform(-3, 3, (two.n_obs, 2))
    return two


@pytest.fixture(scope="module")
def second(two: AnnData) -> np.ndarray:
    return (two.obs["section"] == "s2").to_numpy()


@pytest.fixture(scope="module")
def links(two: AnnData) -> csr_matrix:
    return stack_links(two.obsm["spatial"], two.obs["section"], ["s1", "s2"], 3)


@pytest.fixture(scope="module")
def apart(two: AnnData) -> SpatialFactors:
    return SpatialFactors(FACTORS).fit(two, section_key="section", progress=False)


def only(adata: AnnData, rows: np.ndarray) -> AnnData:
    """The spots of one section, which no longer says that it is one."""
    one = adata[rows].copy()
    del one.obs["section"]
    return one


def linked(n_spots: int, *pairs: tuple[int, int]) -> csr_matrix:
    rows, columns = np.array([*pairs, *(pair[::-1] for pair in pairs)]).T
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (n_spots, n_spots))


# links


def test_links_change_what_is_learned_and_what_is_embedded(two, links, apart):
    joined = SpatialFactors(FACTORS).fit(two, section_key="section", links=links, progress=False)
    assert not np.allclose(joined.embed(two, links=links), apart.embed(two), atol=1e-3)
    assert not np.allclose(joined.embed(two, links=links), joined.embed(two), atol=1e-3)
    assert not np.allclose(joined.denoise(two, links=links), joined.denoise(two), atol=1e-3)


def test_sections_hear_of_each_other_through_links_alone(two, second):
    """One link, between spots 5 and 200: what changes in 200 reaches what lies within one step of 5."""
    model = SpaMask(SMALL).fit(two, section_key="section", progress=False)
    changed = two.copy()
    counts = two.X.toarray()
    counts[200] = counts[200][::-1]
    changed.X = csr_matrix(counts)
    link = linked(two.n_obs, (5, 200))
    moved = np.abs(model.embed(changed, links=link) - model.embed(two, links=link)).max(axis=1) > 1e-6
    steps = dijkstra(knn_adjacency(two.obsm["spatial"][~second], 6), unweighted=True, indices=5)
    assert moved[~second].tolist() == (steps <= 1).tolist()
    assert 1 < moved[~second].sum() < 60
    unlinked = np.abs(model.embed(changed) - model.embed(two)).max(axis=1) > 1e-6
    assert not unlinked[~second].any()
    assert unlinked[second].any()


def test_no_links_are_no_links(two, apart):
    nothing = csr_matrix((two.n_obs, two.n_obs), dtype=np.float32)
    assert (apart.embed(two, links=nothing) == apart.embed(two)).all()


def test_links_bring_sections_together(two, second, links):
    """Linked spots are nearer to each other than without links, against any two spots of different sections."""
    rows, columns = links.nonzero()
    apart = []
    for given in (None, links):
        model = SpatialFactors(FACTORS).fit(two, section_key="section", links=given, progress=False)
        embedding = model.embed(two, links=given)
        gap = np.linalg.norm(embedding[rows] - embedding[columns], axis=1).mean()
        apart.append(gap / cdist(embedding[second], embedding[~second]).mean())
    assert apart[1] < 0.9 * apart[0]


@pytest.mark.parametrize("job", ["fit", "embed"])
@pytest.mark.parametrize(
    ("links", "words"),
    [
        (csr_matrix((7, 7)), r"must be of one shape, got '\(7, 7\)', '\(300, 300\)'"),
        (csr_matrix(([1.0], ([0], [200])), (300, 300)), "adjacency is directed; symmetrise it"),
        (csr_matrix(([1.0], ([4], [4])), (300, 300)), "stores self loops"),
    ],
    ids=["shape", "directed", "loop"],
)
def test_links_that_are_none(two, apart, job, links, words):
    model = apart if job == "embed" else SpatialFactors(FACTORS)
    arguments = {} if job == "embed" else {"section_key": "section", "progress": False}
    with pytest.raises(ValueError, match=words):
        getattr(model, job)(two, links=links, **arguments)


# scaling, and sections seen later


def test_a_section_alone_is_embedded_as_in_the_study(two, second, apart):
    """It was scaled on its own, and no link leads out of it; here it was even trained on."""
    together = apart.embed(two)
    for rows in (second, ~second):
        np.testing.assert_allclose(apart.embed(only(two, rows)), together[rows], atol=1e-4)
        np.testing.assert_allclose(apart.denoise(only(two, rows)), apart.denoise(two)[rows], atol=1e-4)


def test_a_batch_effect_on_a_section_changes_little(two, second, apart):
    """Every gene of one section is caught up to 1.6 times as well or as badly; scaled together, that is seen."""
    stained = two.copy()
    catch = np.random.default_rng(0).uniform(-0.5, 0.5, two.n_vars)
    counts = two.X.toarray()
    counts[second] = np.random.default_rng(1).poisson(4 * counts[second] * np.exp(catch))
    stained.X = csr_matrix(counts)
    together = SpatialFactors(replace(FACTORS, scale_by_section=False)).fit(two, section_key="section", progress=False)
    assert apart.fitted.features.genes.by_section
    assert not together.fitted.features.genes.by_section
    assert together.fitted.section_key == "section"  # its graph is still that of each section
    shift = {}
    for name, model in (("by section", apart), ("together", together)):
        before, after = model.embed(two), model.embed(stained)
        shift[name] = np.linalg.norm((after - before)[second].mean(axis=0)) / before.std()
        np.testing.assert_allclose(after[~second], before[~second], atol=1e-4)
    assert shift["by section"] < 0.5 * shift["together"]


def test_denoised_expression_keeps_the_level_of_its_section(two, second, apart):
    """The batch effect goes out of the embedding, not out of the expression that is given back."""
    depth = np.asarray(two.X.sum(axis=1))
    raw = np.log1p(1e4 * two.X.toarray() / depth)[:, two.var_names.get_indexer(apart.genes)]
    denoised = apart.denoise(two).to_numpy()
    effect, kept = (values[second].mean(axis=0) - values[~second].mean(axis=0) for values in (raw, denoised))
    assert np.corrcoef(effect, kept)[0, 1] > 0.95


def test_a_section_that_was_not_trained_on(two, second):
    model = SpatialFactors(FACTORS).fit(only(two, ~second), progress=False)
    embedding = model.embed(two[second].copy())
    assert embedding.shape == (150, model.embed(only(two, ~second)).shape[1])
    assert np.isfinite(embedding).all()


def test_sections_are_named_in_the_facts(two, apart):
    assert apart.training_facts["sections"] == ["s1", "s2"]
    assert apart.training_facts["n_spots"] == 300
    assert SpatialFactors(FACTORS).fit(two[:150].copy(), progress=False).training_facts["sections"] == []


def test_a_spot_without_a_section(two):
    lost = two.copy()
    lost.obs.loc[lost.obs_names[:4], "section"] = np.nan
    with pytest.raises(ValueError, match=r"4 of 300 spots have no section: adata\.obs\['section'\] is empty"):
        SpatialFactors(FACTORS).fit(lost, section_key="section", progress=False)


# several networks


def test_the_first_of_two_networks_is_the_single_one(two):
    config = SMALL
    one = SpaMask(config).fit(two, section_key="section", seed=3, progress=False)
    both = SpaMask(replace(config, n_networks=2)).fit(two, section_key="section", seed=3, progress=False)
    single, outputs = one.embed(two), both.run(two)
    first, other = outputs.of_networks
    assert (first == single).all()
    assert not np.allclose(other, single, atol=1e-4)
    np.testing.assert_array_equal(both.embed(two), np.concatenate([first, other], axis=1))
    assert both.embed(two).dtype == np.float32
    ours, theirs = both.training_facts["history"], one.training_facts["history"]
    assert ours["run"].tolist() == [0] * 5 + [1] * 5
    assert ours.index.is_unique
    assert ours.loc[ours["run"] == 0, "loss"].tolist() == theirs["loss"].tolist()


def test_facts_of_several_networks_are_those_of_the_longest(two):
    config = replace(SMALL, n_networks=3, max_epochs=40, check_every=2, tolerance=0.02)
    facts = SpaMask(config).fit(two, section_key="section", progress=False).training_facts
    epochs = facts["history"].groupby("run").size()
    assert len(epochs) == 3
    assert facts["n_epochs"] == epochs.max()
    assert facts["stopped"] == "converged"
    bounded = SpaMask(replace(config, max_epochs=3)).fit(two, section_key="section", progress=False).training_facts
    assert (bounded["stopped"], bounded["n_epochs"]) == ("max_epochs", 3)
