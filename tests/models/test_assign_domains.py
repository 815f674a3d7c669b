"""A model that knows domains: given to spots it was trained on and to others, saved, and what it says of genes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import adjusted_rand_score

from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig, SpatialFactors, SpatialFactorsConfig, load
from histoquilt.tl import refine_domains, spatial_domains

pytestmark = pytest.mark.filterwarnings("ignore:.* genes have no counts")
FACTORS = SpatialFactorsConfig(n_pcs=30)
SMALL = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=30, max_epochs=3)


@pytest.fixture(scope="module")
def two() -> AnnData:
    """Two serial sections of 900 spots with three domains."""
    return toy_section(n_spots=900, n_genes=200, n_domains=3, n_sections=2, seed=0)


def section(two: AnnData, name: str) -> AnnData:
    return two[(two.obs["section"] == name).to_numpy()].copy()


@pytest.fixture(scope="module")
def _found(two: AnnData) -> tuple[SpatialFactors, AnnData]:
    model, first = SpatialFactors(FACTORS), section(two, "s1")
    spatial_domains(first, 3, model=model, refine=False, denoise=False, progress=False)
    return model, first


@pytest.fixture
def model(_found) -> SpatialFactors:
    return _found[0]


@pytest.fixture
def first(_found) -> AnnData:
    """The training section with its domains, not refined."""
    return _found[1].copy()


# assigned


def test_the_training_section_gets_its_own_domains(model, first):
    again = first.copy()
    model.assign_domains(again, key_added="assigned", embedding_key="X_again")
    assert again.obs["assigned"].tolist() == first.obs["domain"].tolist()
    assert again.obs["assigned"].cat.categories.tolist() == ["1", "2", "3"]
    np.testing.assert_allclose(again.obs["assigned_confidence"], first.obs["domain_confidence"], atol=1e-9)
    np.testing.assert_array_equal(again.obsm["X_again"], first.obsm["X_domains"])
    pd.testing.assert_series_equal(again.obs["domain"], first.obs["domain"])


def test_refined_domains_keep_their_names(two):
    """Names come from refined domains; assigned ones are what these were before, so refining leads back to them."""
    model, adata = SpatialFactors(FACTORS), section(two, "s1")
    spatial_domains(adata, 3, model=model, denoise=False, progress=False)
    again = section(two, "s1")
    model.assign_domains(again)
    same = (again.obs["domain"].astype(str) == adata.obs["domain"].astype(str)).mean()
    assert 0.85 < same <= 1
    assert again.uns["histoquilt"]["domain"]["refined"] is False
    refine_domains(again)
    assert again.obs["domain"].tolist() == adata.obs["domain"].tolist()
    assert again.uns["histoquilt"]["domain"]["refined"] is True


def test_a_section_the_model_has_not_seen(model, two):
    unseen = section(two, "s2")
    model.assign_domains(unseen)
    assert adjusted_rand_score(unseen.obs["domain_true"], unseen.obs["domain"]) > 0.5
    assert unseen.obs["domain_confidence"].between(1 / 3, 1).all()
    assert unseen.obsm["X_domains"].dtype == np.float32
    alone = section(two, "s2")
    spatial_domains(alone, 3, config=FACTORS, denoise=False, progress=False)
    assert adjusted_rand_score(alone.obs["domain"], unseen.obs["domain"]) > 0.6


def test_names_mean_the_same_on_the_unseen_section(model, first, two):
    """The same domain of the truth has the same name on both, however the section lies."""
    unseen = section(two, "s2")
    unseen.obsm["spatial"] = -unseen.obsm["spatial"]
    model.assign_domains(unseen)
    names = [
        adata.obs.groupby("domain_true", observed=True)["domain"].agg(lambda d: d.mode()[0])
        for adata in (first, unseen)
    ]
    assert names[0].tolist() == names[1].tolist()
    assert names[0].nunique() == 3


def test_a_piece_that_holds_one_domain_knows_of_all(model, first):
    piece = first[(first.obs["domain"] == "2").to_numpy()][:40].copy()
    model.assign_domains(piece)
    assert piece.obs["domain"].cat.categories.tolist() == ["1", "2", "3"]
    assert (piece.obs["domain"] == "2").mean() > 0.8


def test_ten_domains_come_in_the_order_of_their_numbers(two):
    model, adata = SpatialFactors(FACTORS), section(two, "s1")
    spatial_domains(adata, 10, model=model, denoise=False, progress=False)
    model.assign_domains(adata)
    assert adata.obs["domain"].cat.categories.tolist() == [str(number) for number in range(1, 11)]


def test_what_is_recorded(model, two):
    unseen = section(two, "s2")[:, 5:].copy()
    with pytest.warns(UserWarning, match="filled with the average"):
        model.assign_domains(unseen)
    record = unseen.uns["histoquilt"]["domain"]
    n_missing = len(set(model.genes) & set(two.var_names[:5]))
    assert record["genes"] == {"shared": len(model.genes) - n_missing, "missing": n_missing, "filled": n_missing}
    assert record["model_digest"] == model.training_facts["digest"]
    assert (record["n_domains"], record["use_rep"], record["refined"]) == (3, "X_domains", False)


def test_sections_together_are_assigned_as_each_alone(two):
    model = SpatialFactors(FACTORS)
    spatial_domains(two.copy(), 3, model=model, section_key="section", denoise=False, progress=False)
    together, parts = two.copy(), [section(two, "s1"), section(two, "s2")]
    for adata in (together, *parts):
        model.assign_domains(adata)
    assert together.uns["histoquilt"]["domain"]["trained_on"] == "s1, s2"
    assert together.obs["domain"].tolist() == [name for part in parts for name in part.obs["domain"]]


def test_a_model_with_two_networks(two):
    model, adata = SpaMask(replace(SMALL, n_networks=2)), section(two, "s1")
    spatial_domains(adata, 3, model=model, refine=False, denoise=False, progress=False)
    again = section(two, "s1")
    model.assign_domains(again)
    assert again.obs["domain"].tolist() == adata.obs["domain"].tolist()


# what cannot be assigned


def test_a_model_without_domains(model, first):
    bare = SpatialFactors(FACTORS).fit(first, progress=False)
    with pytest.raises(RuntimeError, match=r"no domains to assign.*spatial_domains\(adata, n_domains, model=model\)"):
        bare.assign_domains(first)
    with pytest.raises(RuntimeError, match="not trained"):
        SpatialFactors(FACTORS).assign_domains(first)
    with pytest.raises(TypeError, match="Expected an AnnData, got str"):
        model.assign_domains("section.h5ad")


def test_training_again_forgets_the_domains(first):
    model = SpatialFactors(FACTORS)
    spatial_domains(first, 3, model=model, denoise=False, progress=False)
    assert model.domains is not None
    model.fit(first, progress=False)
    assert model.domains is None


def test_a_section_that_lacks_most_genes_stays_as_it_was(model, two):
    foreign = section(two, "s2")[:, model.genes[:40]].copy()
    before = list(foreign.obs), list(foreign.obsm), set(foreign.uns["histoquilt"])
    with pytest.raises(ValueError, match=r"At least 50% are needed"):
        model.assign_domains(foreign)
    assert (list(foreign.obs), list(foreign.obsm), set(foreign.uns["histoquilt"])) == before


# genes


def test_genes_are_compared(model, two):
    whole = model.compare_genes(two)
    assert whole == {"shared": model.genes, "missing": [], "filled": []}
    lost = [model.genes[4], model.genes[1]]
    some = model.compare_genes(two[:, ~two.var_names.isin(lost)])
    assert some["missing"] == some["filled"] == [model.genes[1], model.genes[4]]  # in the order of the model
    assert some["shared"] == [gene for gene in model.genes if gene not in lost]
    few = model.compare_genes(two[:, model.genes[:10]])
    assert len(few["missing"]) == len(model.genes) - 10
    assert few["filled"] == []  # since embed refuses


def test_an_embedding_of_the_users_has_no_genes_to_compare(two):
    adata = section(two, "s1")
    adata.obsm["X_own"] = np.random.default_rng(0).normal(size=(900, 6))
    model = SpatialFactors(FACTORS).fit(adata, use_rep="X_own", progress=False)
    assert model.compare_genes(adata) == {"shared": [], "missing": [], "filled": []}
    with pytest.raises(RuntimeError, match="not trained"):
        SpatialFactors(FACTORS).compare_genes(adata)


# saved


@pytest.mark.parametrize(
    "model",
    [
        SpatialFactors(FACTORS), SpatialFactors(replace(FACTORS, scale_by_section=False)), SpaMask(SMALL),
        SpaMask(replace(SMALL, n_networks=2)),
    ],
)  # fmt: skip
def test_a_loaded_model_says_exactly_the_same(two, tmp_path, model):
    joint = two.copy()
    spatial_domains(joint, 3, model=model, section_key="section", denoise=False, progress=False)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert repr(loaded) == repr(model)
    assert loaded.domains.names == model.domains.names
    assert loaded.training_facts["sections"] == ["s1", "s2"]
    ours, theirs = two.copy(), two.copy()
    model.assign_domains(ours)
    loaded.assign_domains(theirs)
    pd.testing.assert_frame_equal(ours.obs, theirs.obs, check_exact=True)
    np.testing.assert_array_equal(ours.obsm["X_domains"], theirs.obsm["X_domains"])
    assert ours.uns["histoquilt"]["domain"] == theirs.uns["histoquilt"]["domain"]
    pd.testing.assert_frame_equal(loaded.denoise(two), model.denoise(two), check_exact=True)
    load(tmp_path / "model").save(tmp_path / "again")
    assert load(tmp_path / "again").domains.names == model.domains.names


def test_a_model_without_domains_is_loaded_without(two, tmp_path):
    SpatialFactors(FACTORS).fit(two, section_key="section", progress=False).save(tmp_path / "model")
    assert load(tmp_path / "model").domains is None


def test_repr_tells_of_domains(model):
    assert repr(model) == f"SpatialFactors(trained on {len(model.genes)} genes, 3 domains)"
