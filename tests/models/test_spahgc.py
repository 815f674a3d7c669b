import dataclasses

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.metrics import score_genes
from histoquilt.models import SpaHGC, SpaHGCConfig
from histoquilt.models.spahgc._graph import NetworkSection, ReferenceBank, build_graph, near_targets, search_directions
from histoquilt.models.spahgc._network import training_losses
from histoquilt.models.spahgc._training import build_network, network_predicts, train_epochs
from histoquilt.nn import HeteroGraph

CPU = torch.device("cpu")
QUICK = SpaHGCConfig(max_epochs=2, check_every=1, n_hidden=16, n_heads=2, n_inputs=8)


def correlation(predicted, measured) -> float:
    counts = measured[:, predicted.var_names].X.toarray().astype(float)
    truth = np.log1p(1e4 * counts / measured.X.toarray().sum(axis=1, keepdims=True))
    return float(score_genes(truth, predicted.layers["predicted_spahgc"], list(predicted.var_names))["pearson"].mean())


@pytest.fixture(scope="module")
def study():
    return hq.datasets.paired_study(n_sections=4, n_spots=40, n_genes=12, seed=0, kind="both")


def network_sections(n: int = 3, *, n_spots: int = 30, n_genes: int = 5, seed: int = 0) -> list[NetworkSection]:
    rng = np.random.default_rng(seed)
    return [
        NetworkSection(
            group=f"g{number}",
            x=rng.normal(size=(n_spots, 6)).astype(np.float32),
            centres_um=rng.uniform(0, 500, size=(n_spots, 2)),
            y=rng.normal(size=(n_spots, n_genes)).astype(np.float32),
        )
        for number in range(n)
    ]


def test_references_are_of_other_groups_and_the_most_similar():
    sections = network_sections()
    bank = ReferenceBank.of(sections)
    graph = build_graph(sections[0], bank, None, QUICK, CPU)
    assert not np.isin(graph.reference[:, :6].numpy(), sections[0].x).all(axis=1).any()
    others = np.concatenate([one.x for one in sections[1:]])
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (sections[0].x, others)]
    nearest = np.argsort(-(unit[0] @ unit[1].T), axis=1)[:, : QUICK.n_references]
    edges = graph.graph.to_target
    for target in range(30):
        of_target = graph.reference[edges.columns[edges.rows == target], :6].numpy()
        np.testing.assert_allclose(np.sort(of_target, axis=0), np.sort(others[nearest[target]], axis=0))


def test_a_bank_of_the_sections_own_group_is_refused():
    sections = network_sections(1)
    with pytest.raises(ValueError, match="references from other training sections"):
        build_graph(sections[0], ReferenceBank.of(sections), None, QUICK, CPU)


def test_measured_expression_of_a_target_reaches_no_input():
    sections = network_sections()
    bank = ReferenceBank.of(sections)
    blind = dataclasses.replace(sections[0], y=None)
    ours, theirs = (build_graph(one, bank, None, QUICK, CPU) for one in (sections[0], blind))
    assert torch.equal(ours.target, theirs.target)
    assert torch.equal(ours.reference, theirs.reference)


def test_near_targets_are_the_nearest_within_a_pitch_and_a_half():
    centres = np.array([[0.0, 0], [1, 0], [2, 0], [0, 1], [50, 50], [50, 51]])
    near = near_targets(centres, 5).toarray().astype(bool)
    assert [set(np.flatnonzero(row)) for row in near] == [{1, 3}, {0, 2, 3}, {1}, {0, 1}, {5}, {4}]
    assert near_targets(centres, 1).getnnz(axis=1).tolist() == [1] * 6


@pytest.mark.parametrize("cut", ["targets", "references", "between"])
def test_every_kind_of_edge_changes_the_prediction(cut):
    sections = network_sections()
    section = build_graph(sections[0], ReferenceBank.of(sections), None, QUICK, CPU)
    network = build_network(6, 5, QUICK, seed=0)
    n_targets, n_references = len(section.target), len(section.reference)
    own = near_targets(sections[0].centres_um, 5)
    edges = section.graph.to_target
    between = csr_matrix((np.ones(edges.n_edges), (edges.rows, edges.columns)), (n_targets, n_references))
    among = csr_matrix(np.roll(np.eye(n_references), 1, axis=0))
    empty = {"targets": own, "references": among, "between": between}
    full = HeteroGraph.from_scipy(own, among, between)
    empty[cut] = csr_matrix(empty[cut].shape)
    without = HeteroGraph.from_scipy(*empty.values())
    says = [network_predicts(network, dataclasses.replace(section, graph=graph)) for graph in (full, without)]
    assert np.abs(says[0] - says[1]).max() > 1e-4


def test_the_momentum_encoder_follows_and_learns_in_no_other_way(monkeypatch):
    followers = []

    def spy(network, follower, *args):
        followers.append([p.detach().clone() for p in follower.parameters()])
        assert not any(p.requires_grad for p in follower.parameters())
        return training_losses(network, follower, *args)

    monkeypatch.setattr("histoquilt.models.spahgc._training.training_losses", spy)
    list(train_epochs(network_sections(), QUICK, 2, seed=0, device=CPU))
    assert len(followers) == 6
    first, last = followers[0], followers[-1]
    assert max(float((a - b).abs().max()) for a, b in zip(first, last, strict=True)) > 0


@pytest.mark.parametrize("regress_on", ["unmasked", "masked"])
def test_all_four_terms_are_in_the_loss(regress_on):
    sections = network_sections()
    config = dataclasses.replace(QUICK, regress_on=regress_on)
    rows = [losses for _, losses in train_epochs(sections, config, 1, seed=0, device=CPU)]
    parts = rows[0]
    expected = parts["squared"] + 0.5 * parts["correlation"] + 0.2 * parts["target"] + 0.1 * parts["reference"]
    assert parts["total"] == pytest.approx(expected, rel=1e-5)
    assert min(parts.values()) > 0


def test_training_diverges_with_words():
    sections = network_sections()
    sections[0].y[0, 0] = np.nan
    config = dataclasses.replace(QUICK, retrieval="cosine")
    with pytest.raises(RuntimeError, match="diverged"):
        list(train_epochs(sections, config, 1, seed=0, device=CPU))


def test_same_seed_same_prediction_and_a_saved_model_predicts_alike(study, tmp_path):
    sections = dict(study)
    held_out = sections.pop("s4")
    models = [SpaHGC(QUICK).fit(sections, use_rep="X_image", seed=seed) for seed in (0, 0, 1)]
    first, again, other = (model.predict(held_out).layers["predicted_spahgc"] for model in models)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    models[0].save(tmp_path / "model")
    loaded = hq.models.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(held_out).layers["predicted_spahgc"], first)
    assert not list((tmp_path / "model").glob("*.pkl"))


def test_nothing_is_learnt_from_the_section_that_is_predicted(study):
    sections = dict(study)
    held_out = sections.pop("s4")
    model = SpaHGC(QUICK).fit(sections, use_rep="X_image")
    other = held_out.copy()
    other.X = csr_matrix(other.X.toarray()[::-1])
    layer = "predicted_spahgc"
    np.testing.assert_array_equal(model.predict(held_out).layers[layer], model.predict(other).layers[layer])


def test_two_sections_cannot_judge_the_network(study):
    sections = {name: study[name] for name in ("s1", "s2")}
    alone = SpaHGC(QUICK).fit(sections, use_rep="X_image")
    assert alone.training_facts["chosen"]["n_epochs"] == QUICK.max_epochs
    assert alone.keeps_expression
    assert alone.predict(study["s3"]).var["reliability"].isna().all()


def test_the_network_starts_at_the_mean():
    sections = network_sections()
    sections[0].y[:] += 3
    mean = np.concatenate([one.y for one in sections]).mean(axis=0)
    quick = dataclasses.replace(QUICK, learning_rate=1e-9)
    ((alone, _),) = train_epochs(sections, quick, 1, seed=0, device=CPU)
    np.testing.assert_allclose(alone.genes.bias.detach(), mean, atol=1e-5)


def planted_sections(n: int = 4) -> list[NetworkSection]:
    """Sections whose expression follows the first input alone, which has the smallest variance."""
    spread = np.array([1, 5, 5, 5, 5, 5], dtype=np.float32)
    sections = [dataclasses.replace(one, x=one.x * spread) for one in network_sections(n, n_spots=60)]
    slope = np.linspace(1, 2, 5, dtype=np.float32)
    return [dataclasses.replace(one, y=one.x[:, :1] * slope + 0.1 * one.y) for one in sections]


def test_references_are_searched_where_expression_varies():
    sections = planted_sections()
    bank = ReferenceBank.of(sections)
    directions = search_directions(sections, QUICK, without="g0")
    far = []
    for way in (directions, None):
        graph = build_graph(sections[0], bank, way, QUICK, CPU)
        edges = graph.graph.to_target
        far.append((graph.target[edges.rows, 0] - graph.reference[edges.columns, 0]).abs().mean())
    assert far[0] < 0.3 * far[1]


def test_a_section_has_no_part_in_the_search_for_its_references():
    sections = planted_sections()
    planted = [dataclasses.replace(sections[0], y=sections[0].y[::-1].copy()), *sections[1:]]
    ours, theirs = (search_directions(some, QUICK, without="g0") for some in (sections, planted))
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(search_directions(sections, QUICK), search_directions(planted, QUICK))
    assert search_directions(sections, dataclasses.replace(QUICK, retrieval="cosine")) is None


@pytest.mark.slow
def test_references_carry_the_signal_and_cutting_them_loses_it():
    sections = hq.datasets.paired_study(n_sections=5, n_spots=60, n_genes=20, seed=0, kind="references")
    held_out = sections.pop("s5")
    config = SpaHGCConfig(max_epochs=12, check_every=12, n_hidden=64, n_inputs=16, learning_rate=3e-3)
    whole, cut = (
        correlation(SpaHGC(one).fit(sections, use_rep="X_image").predict(held_out), held_out)
        for one in (config, dataclasses.replace(config, use_references=False))
    )
    assert whole > 0.5
    assert cut < 0.2


def test_published_settings_run(study):
    config = dataclasses.replace(SpaHGCConfig.published(), max_epochs=1, n_hidden=16)
    model = SpaHGC(config).fit({name: study[name] for name in ("s1", "s2", "s3")}, use_rep="X_image")
    predicted = model.predict(study["s4"])
    assert predicted.layers["predicted_spahgc"].std(axis=0).max() > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_layers": 0}, "n_layers must be a whole number of at least 1"),
        ({"n_hidden": 10, "n_heads": 4}, "4 heads cannot share"),
        ({"reference_mask_rate": 1.0}, "reference_mask_rate must be at least 0 and less than 1"),
        ({"correlation_weight": -1.0}, "correlation_weight must not be negative"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"regress_on": "both"}, "regress_on must be"),
        ({"retrieval": "dot"}, "retrieval must be"),
        ({"fields": "validate"}, "cannot be 'validate'"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SpaHGCConfig(**settings)
