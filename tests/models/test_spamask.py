"""Training of SpaMask: seeds, its end, and what is recorded."""

from dataclasses import replace

import numpy as np

from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig

SMALL = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=30, max_epochs=5, target_sum=1e4, log=True)


def test_another_seed_another_result(section):
    config = replace(SMALL, max_epochs=2)
    one, other = (SpaMask(config).fit(section, seed=seed, progress=False).embed(section) for seed in (3, 4))
    assert not np.allclose(one, other)


def test_training_stops_by_itself_and_is_bounded(section):
    config = replace(SMALL, max_epochs=400, check_every=5, tolerance=0.02)
    facts = SpaMask(config).fit(section, progress=False).training_facts
    assert facts["stopped"] == "converged"
    assert facts["n_epochs"] < 400
    last = facts["history"]["embedding_change"].iloc[-1]
    assert last < 0.02
    bounded = SpaMask(replace(config, tolerance=0.0, max_epochs=7)).fit(section, progress=False).training_facts
    assert (bounded["stopped"], bounded["n_epochs"]) == ("max_epochs", 7)
    assert list(bounded["history"]["epoch"]) == [1, 2, 3, 4, 5, 6, 7]


def test_the_loss_falls(section):
    config = replace(SMALL, max_epochs=30, tolerance=0.0)
    loss = SpaMask(config).fit(section, progress=False).training_facts["history"]["loss"]
    assert loss.iloc[-5:].mean() < 0.95 * loss.iloc[:5].mean()


def test_published_settings_run(section):
    model = SpaMask(replace(SpaMaskConfig(), max_epochs=2)).fit(section, progress=False)
    assert model.embed(section).shape == (300, 256)
    assert model.training_facts["n_epochs"] == 2


def test_training_facts(section):
    facts = SpaMask(SMALL).fit(section, seed=3, progress=False).training_facts
    assert facts["seed"] == 3
    assert facts["n_spots"] == section.n_obs
    assert facts["wall_s"] > 0
    assert facts["precision"] == "float32"  # a narrow network, on any processor
    assert {"epoch", "loss", "feature_loss", "edge_loss", "embedding_change"} <= set(facts["history"].columns)
    assert len(facts["history"]) == facts["n_epochs"] == 5


def test_same_seed_is_the_same_bit_for_bit_with_many_pairs_and_threads():
    # 2,000 spots: enough pairs that a gather whose backward pass is not ordered differs from run to run
    section = toy_section(n_spots=2000, n_genes=100, seed=0)
    config = SpaMaskConfig(n_hidden=64, n_latent=64, max_epochs=8, tolerance=0.0)
    embeddings = [SpaMask(config).fit(section, seed=3, progress=False).embed(section) for _ in range(3)]
    for other in embeddings[1:]:
        np.testing.assert_array_equal(embeddings[0], other)
