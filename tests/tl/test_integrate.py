"""Sections integrated: what it finds on toy tissue with batch effects, which spots are linked, and what it refuses."""

import numpy as np
import pytest
from anndata import AnnData

import histoquilt as hq
from histoquilt.models import SharedFactors, SharedFactorsConfig
from histoquilt.tl import integrate_sections

pytestmark = pytest.mark.filterwarnings("ignore:.* genes have no counts", "ignore:.*fits .* poorly")
QUICK = SharedFactorsConfig(n_pcs=30)
FAST = {"config": QUICK, "mixing": False, "progress": False}


@pytest.fixture(scope="module")
def _three() -> AnnData:
    return hq.datasets.toy_section(n_spots=200, n_genes=100, n_domains=3, n_sections=3, seed=0)


@pytest.fixture
def three(_three: AnnData) -> AnnData:
    """Three serial sections of 200 spots, z 0, 100, 200 microns; a fresh copy."""
    return _three.copy()


@pytest.fixture(scope="module")
def stacked(_three: AnnData) -> AnnData:
    return integrate_sections(_three, 3, **FAST)


@pytest.fixture(scope="module")
def learned() -> tuple[AnnData, AnnData]:
    """Two sections with a strong batch effect, and the same integrated."""
    two = hq.datasets.toy_section(n_spots=600, n_genes=300, n_domains=5, n_sections=2, seed=1)
    rng = np.random.default_rng(0)
    second = (two.obs["section"] == "s2").to_numpy()
    counts = two.X.toarray()
    counts[second] = rng.poisson(counts[second] * rng.lognormal(0, 0.7, two.n_vars))
    two.X = type(two.X)(counts.astype(np.float32))
    config = SharedFactorsConfig(n_pcs=50)
    return two, integrate_sections(two, 5, config=config, progress=False)


def pairs_of_sections(adata: AnnData, key: str) -> set[tuple[str, str]]:
    """Which sections an edge of ``obsp[key]`` joins."""
    section = adata.obs["section"].astype(str).to_numpy()
    rows, columns = adata.obsp[key].nonzero()
    return set(zip(section[rows], section[columns], strict=True))


# what it finds


def test_domains_are_shared_in_spite_of_the_batch_effect(learned):
    two, joint = learned
    ari = hq.metrics.ari(two.obs["domain_true"], joint.obs["domain"])
    assert ari > 0.6
    plain = joint.copy()
    hq.tl.cluster_mixture(plain, 5, use_rep="X_before", key_added="plain")
    assert ari > hq.metrics.ari(two.obs["domain_true"], plain.obs["plain"]) + 0.1


def test_sections_mix_and_domains_stay_apart(learned):
    table = learned[1].uns["histoquilt"]["mixing"]
    every = table[table["sections"] == "all"].pivot_table(index="embedding", columns="metric", values="value")
    assert list(every.index) == ["before", "harmony", "histoquilt"]
    assert every.loc["histoquilt", "ilisi"] > every.loc["before", "ilisi"] + 0.3
    assert every.loc["histoquilt", "clisi"] < every.loc["before", "clisi"]


def test_what_is_written(stacked):
    assert stacked.shape == (600, 100)
    assert stacked.obs["domain"].cat.categories.tolist() == ["1", "2", "3"]
    assert stacked.obs["domain_confidence"].between(0, 1).all()
    assert stacked.obsm["X_domains"].dtype == stacked.obsm["X_joint"].dtype == np.float32
    assert len(stacked.obsm["X_joint"]) == 600
    assert stacked.obsm["spatial_aligned"].shape == (600, 2)
    facts = stacked.uns["histoquilt"]["integration"]
    assert (facts["links"], facts["n_links"], facts["z_given"]) == ("stack", 3, True)
    assert (facts["sections"], facts["z_um"]) == ("s1, s2, s3", "0, 100, 200")
    assert facts["n_shared_genes"] == 100
    assert facts["n_linked_spots"] == 600
    assert "denoised" not in stacked.obsm


def test_it_can_be_written_and_read(stacked, tmp_path):
    hq.io.write_h5ad(stacked, tmp_path / "joint.h5ad")
    again = hq.io.read_h5ad(tmp_path / "joint.h5ad")
    assert again.uns["histoquilt"]["integration"]["links"] == "stack"
    assert (again.obsp["section_links"] != stacked.obsp["section_links"]).nnz == 0


def test_list_dict_and_one_anndata_are_the_same(three, stacked):
    sections = hq.io.split_sections(three)
    for given in (sections, list(sections.values())):
        joint = integrate_sections(given, 3, **FAST)
        assert joint.obs["section"].tolist() == stacked.obs["section"].tolist()
        np.testing.assert_array_equal(joint.obsm["X_domains"], stacked.obsm["X_domains"])
        assert joint.obs["domain"].tolist() == stacked.obs["domain"].tolist()


def test_inputs_are_not_changed(three):
    before = three.copy()
    integrate_sections(three, 3, links="expression", **FAST)
    assert list(three.obs) == list(before.obs)
    assert list(three.obsm) == list(before.obsm)
    assert list(three.obsp) == []
    assert (three.X != before.X).nnz == 0
    assert three.uns == before.uns


def test_sections_of_another_name(three, stacked):
    three.obs["slice"] = three.obs.pop("section")
    joint = integrate_sections(three, 3, section_key="slice", **FAST)
    np.testing.assert_array_equal(joint.obsm["X_domains"], stacked.obsm["X_domains"])
    assert list(joint.obs["slice"].cat.categories) == ["s1", "s2", "s3"]


# links


def test_no_edge_of_the_graph_joins_two_sections(stacked):
    assert pairs_of_sections(stacked, "spatial_connectivities") == {("s1", "s1"), ("s2", "s2"), ("s3", "s3")}


def test_a_stack_links_neighbours_in_z(stacked):
    assert pairs_of_sections(stacked, "section_links") == {("s1", "s2"), ("s2", "s1"), ("s2", "s3"), ("s3", "s2")}
    n_links = np.diff(stacked.obsp["section_links"].indptr)
    section = stacked.obs["section"].to_numpy()
    assert n_links[section == "s1"].min() >= 3
    assert n_links[section == "s2"].min() >= 6


def test_the_order_of_a_stack_is_that_of_z_not_of_the_sections(three):
    three.obs["z_um"] = three.obs["section"].map({"s1": 50.0, "s2": 0.0, "s3": 400.0}).astype(float)
    joint = integrate_sections(three, 3, **FAST)
    assert joint.uns["histoquilt"]["integration"]["sections"] == "s2, s1, s3"
    assert pairs_of_sections(joint, "section_links") == {("s1", "s2"), ("s2", "s1"), ("s1", "s3"), ("s3", "s1")}


def test_how_far_sections_are_apart_changes_nothing(three, stacked):
    three.obs["z_um"] = three.obs["section"].map({"s1": 0.0, "s2": 10.0, "s3": 5000.0}).astype(float)
    assert (integrate_sections(three, 3, **FAST).obsm["X_domains"] == stacked.obsm["X_domains"]).all()


def test_a_stack_without_z_is_in_the_order_given(three, stacked):
    del three.obs["z_um"]
    joint = integrate_sections(three, 3, links="stack", **FAST)
    assert joint.uns["histoquilt"]["integration"]["z_given"] is False
    assert (joint.obsp["section_links"] != stacked.obsp["section_links"]).nnz == 0


def test_without_z_sections_are_linked_by_expression_and_it_is_said(three, caplog):
    del three.obs["z_um"]
    with caplog.at_level("INFO", logger="histoquilt"):
        joint = integrate_sections(three, 3, **FAST)
    assert "No z_um is given" in caplog.text
    assert "mutual nearest neighbours in expression" in caplog.text
    assert joint.uns["histoquilt"]["integration"]["links"] == "expression"
    names = ("s1", "s2", "s3")
    every = {(a, b) for a in names for b in names if a != b}
    assert pairs_of_sections(joint, "section_links") == every
    assert joint.obsp["section_links"].sum(axis=1).max() <= 6  # three into each other section
    assert "spatial_aligned" not in joint.obsm  # nothing needs to lie on anything


def test_links_by_expression_join_alike_tissue(learned):
    two, _ = learned
    linked = integrate_sections(two, 5, links="expression", **FAST)
    rows, columns = linked.obsp["section_links"].nonzero()
    truth = two.obs["domain_true"].to_numpy()
    by_chance = (truth[:600, None] == truth[None, 600:]).mean()
    assert (truth[rows] == truth[columns]).mean() > max(0.6, 2 * by_chance)


def test_no_links(three):
    joint = integrate_sections(three, 3, links="none", **FAST)
    assert "section_links" not in joint.obsp
    facts = joint.uns["histoquilt"]["integration"]
    assert (facts["links"], facts["n_links"], facts["n_linked_spots"]) == ("none", 0, 0)
    assert joint.obs["domain"].cat.categories.size == 3


def test_two_halves_are_stitched_and_get_the_domains_of_the_whole():
    """Halves that share a third of the tissue; one is turned and moved."""
    whole = hq.datasets.toy_section(n_spots=900, n_genes=300, n_domains=4, seed=0)
    x = whole.obsm["spatial"][:, 0]
    low, high = np.quantile(x, [1 / 3, 2 / 3])
    left, right = whole[x <= high].copy(), whole[x >= low].copy()
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    right.obsm["spatial"] = right.obsm["spatial"] @ turn.T + [900.0, -400.0]
    config = SharedFactorsConfig(n_pcs=50)
    settings = {"config": config, "progress": False}
    joint = integrate_sections({"left": left, "right": right}, 4, links="stitched", mixing=False, **settings)
    uncut = hq.tl.spatial_domains(whole, 4, copy=True, **settings)
    of_uncut = uncut.obs["domain"].loc[joint.obs["obs_name"]].to_numpy()
    assert hq.metrics.ari(of_uncut, joint.obs["domain"]) > 0.9
    truth = whole.obs["domain_true"].loc[joint.obs["obs_name"]].to_numpy()
    as_good = hq.metrics.ari(whole.obs["domain_true"], uncut.obs["domain"])
    assert hq.metrics.ari(truth, joint.obs["domain"]) > as_good - 0.05
    joined = pairs_of_sections(joint, "spatial_connectivities")
    assert ("left", "right") in joined  # one tissue
    twice = joint.obs["obs_name"].duplicated(keep=False).to_numpy()
    places = joint[twice].obs.assign(x=joint.obsm["spatial_aligned"][twice, 0]).groupby("obs_name")["x"]
    assert (places.max() - places.min()).mean() < 50  # half a pitch
    # every spot of the overlap is there twice, and counted once
    n_twice = int(joint.obs["obs_name"].duplicated().sum())
    assert joint.uns["histoquilt"]["integration"]["n_measured_twice"] == n_twice
    assert joint.uns["histoquilt"]["shared_factors"]["n_spots"] == whole.n_obs
    for column in ("domain", "domain_confidence"):
        assert joint.obs.groupby("obs_name")[column].nunique().max() == 1
    assert len(np.unique(joint.obsm["X_domains"], axis=0)) == whole.n_obs


def test_denoised_expression_of_stitched_pieces():
    whole = hq.datasets.toy_section(n_spots=400, n_genes=100, n_domains=3, seed=0)
    microns = whole.obsm["spatial"]
    left, right = whole[microns[:, 0] <= 1100].copy(), whole[microns[:, 0] >= 800].copy()
    for piece in (left, right):
        piece.obsm["spatial_aligned"] = piece.obsm["spatial"]
    joint = integrate_sections([left, right], 3, links="stitched", denoise=True, **FAST)
    assert list(joint.obsm["denoised"].index) == list(joint.obs_names)
    of_place = joint.obsm["denoised"].assign(name=joint.obs["obs_name"].to_numpy()).groupby("name")
    assert of_place.ngroups == whole.n_obs < joint.n_obs
    assert of_place.nunique().max().max() == 1


# number of domains, embeddings, models


def test_the_number_of_domains_is_searched(three):
    joint = integrate_sections(three, (2, 4), **FAST)
    assert joint.obs["domain"].cat.categories.size in (2, 3, 4)
    assert joint.uns["histoquilt"]["n_domains_curve"]["n_domains"].tolist() == [2, 3, 4]
    assert joint.uns["histoquilt"]["domain"]["chosen"]


def test_from_an_embedding(three):
    three.obsm["X_pca"] = three.X.log1p().toarray()[:, :20]
    bare = AnnData(obs=three.obs, obsm=dict(three.obsm))
    joint = integrate_sections(bare, 3, use_rep="X_pca", config=QUICK, links="expression", progress=False)
    assert joint.n_vars == 0
    np.testing.assert_array_equal(joint.obsm["X_before"], three.obsm["X_pca"].astype(np.float32))
    assert joint.obs["domain"].cat.categories.size == 3


def test_the_model_is_left_trained(three, stacked, tmp_path):
    model = SharedFactors(QUICK)
    joint = integrate_sections(three, 3, model=model, mixing=False, progress=False)
    assert (joint.obsm["X_domains"] == stacked.obsm["X_domains"]).all()
    model.save(tmp_path / "model")
    unseen = hq.datasets.toy_section(n_spots=200, n_genes=100, n_domains=3, seed=0)
    hq.models.load(tmp_path / "model").assign_domains(unseen)
    assert unseen.obs["domain"].cat.categories.tolist() == ["1", "2", "3"]


def test_denoised_expression(three):
    joint = integrate_sections(three, 3, denoise=list(three.var_names[:2]), links="none", **FAST)
    assert list(joint.obsm["denoised"]) == list(three.var_names[:2])
    assert joint.uns["histoquilt"]["scale"]["denoised"] == "log1p_cp10k"


def test_denoised_expression_of_an_earlier_run_is_not_kept(three):
    sections = hq.io.split_sections(three)
    for section in sections.values():
        hq.tl.spatial_domains(section, 3, config=QUICK, progress=False)
    joint = integrate_sections(sections, 3, links="none", **FAST)
    assert "denoised" not in joint.obsm
    assert "denoised" not in joint.uns["histoquilt"].get("scale", {})
    assert all("denoised" in section.obsm for section in sections.values())


def test_spot_centres_under_another_key(three, stacked):
    three.obsm["places"] = three.obsm.pop("spatial")
    joint = integrate_sections(three, 3, spatial_key="places", **FAST)
    np.testing.assert_array_equal(joint.obsm["X_domains"], stacked.obsm["X_domains"])


# what it refuses


def test_unknown_links(three):
    with pytest.raises(ValueError, match=r"links must be one of 'auto', 'stack', .*, got 'stak'"):
        integrate_sections(three, 3, links="stak", **FAST)


def test_a_single_section(three):
    with pytest.raises(ValueError, match=r"at least two sections, got s1\. One section: .*spatial_domains"):
        integrate_sections(three[three.obs["section"] == "s1"].copy(), 3, **FAST)


def test_no_column_of_sections(three):
    with pytest.raises(KeyError, match=r"'slice' is not in adata\.obs"):
        integrate_sections(three, 3, section_key="slice", **FAST)


def test_genes_in_common_are_needed(three):
    sections = hq.io.split_sections(three)
    sections["s2"].var_names = [f"GENE{i}" for i in range(100)]
    with pytest.raises(ValueError, match="share 0 genes"):
        integrate_sections(sections, 3, **FAST)


@pytest.mark.parametrize(("k", "words"), [(601, "only 600 spots"), ((5, 3), r"e\.g\. \(5, 12\), got \(5, 3\)")])
def test_numbers_of_domains_that_cannot_be(three, k, words):
    with pytest.raises(ValueError, match=words):
        integrate_sections(three, k, **FAST)


def test_a_model_and_another_config(three):
    with pytest.raises(ValueError, match="Both config= and model= are given"):
        integrate_sections(three, 3, model=SharedFactors(), **FAST)
