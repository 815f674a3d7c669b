"""One network: its seeds, its start, and the line that brings reconstructions to the scale of the features."""

import numpy as np
import torch

from histoquilt.gr import knn_adjacency
from histoquilt.models import SpaMaskConfig
from histoquilt.models.domains._feature_model import Tissue
from histoquilt.models.spamask._tiles import Tiles
from histoquilt.models.spamask._training import build_network, calibrate, network_seeds, outputs_of, train_network
from histoquilt.runtime._progress_bar import progress_bar

SMALL = SpaMaskConfig(n_hidden=16, n_latent=8, max_epochs=60, check_every=1)


def test_more_networks_begin_with_the_same_seeds():
    assert network_seeds(3, 1) == [3]
    four = network_seeds(3, 4)
    assert four[0] == 3
    assert len(set(four)) == 4
    assert network_seeds(3, 2) == four[:2]
    assert network_seeds(4, 2)[1] != four[1]


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3))
    reconstruction = (values - 3) / 2  # the first column exactly, the second with noise, the third says nothing
    reconstruction[:, 1] += rng.normal(size=50)
    reconstruction[:, 2] = 7.0
    slope, intercept = calibrate(reconstruction, values)
    np.testing.assert_allclose([slope[0], intercept[0]], [2, 3])
    np.testing.assert_allclose([slope[1], intercept[1]], np.polyfit(reconstruction[:, 1], values[:, 1], 1))
    np.testing.assert_allclose([slope[2], intercept[2]], [0, values[:, 2].mean()])


def test_the_start_depends_on_the_seed_alone():
    state = torch.random.get_rng_state()
    one, same, other = (build_network(SMALL, 5, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))


def test_a_trained_network_is_calibrated_and_counted():
    rng = np.random.default_rng(0)
    spatial = rng.uniform(size=(80, 2))
    x = np.column_stack([5 * spatial, rng.normal(size=80)]).astype(np.float32)
    tiles = Tiles.of(Tissue(knn_adjacency(spatial, 6), spatial, None), 1024)
    with progress_bar("", None, enabled=False) as advance:
        trained, history = train_network(x, tiles, SMALL, seed=0, device=torch.device("cpu"), advance=advance)
    assert history.n_epochs == 60
    (latent,), found = outputs_of([trained], x, tiles)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(axis=0), x.mean(axis=0), atol=1e-4)  # as least squares leaves it
    assert (((found - x) ** 2).mean(axis=0) <= x.var(axis=0) + 1e-6).all()
    assert np.corrcoef(found[:, 0], x[:, 0])[0, 1] > 0.5
    assert latent.shape == (80, 8)
