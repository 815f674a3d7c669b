"""The two branches: a batch depends on no batch mate."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from histoquilt.gr import radius_adjacency
from histoquilt.models import MclSTExpConfig
from histoquilt.models.mclstexp._network import MclSTExpNetwork, TrainingSpots

N_GENES, N_IMAGE = 7, 5


def section(side: int, seed: int, x0: float = 0.0) -> tuple[np.ndarray, np.ndarray, csr_matrix]:
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    xy = 100.0 * lattice + x0
    return rng.random((side**2, N_GENES)).astype(np.float32), xy, radius_adjacency(xy, 150.0)


def network(n_blocks: int = 2) -> MclSTExpNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MclSTExpConfig(n_latent=16, n_blocks=n_blocks, coordinates=True, dropout_rate=0.0)
        return MclSTExpNetwork(N_IMAGE, N_GENES, config).eval()


@pytest.mark.parametrize("n_blocks", [0, 1, 2])
@torch.no_grad()
def test_a_batch_with_its_surroundings_is_embedded_as_in_the_whole(n_blocks: int) -> None:
    spots, net = TrainingSpots([section(14, 0), section(9, 1)], n_blocks), network(n_blocks)
    whole = net.spots(spots.whole)
    batch = torch.tensor([200, 3, 17, 230])  # out of order, of both sections
    around, place = spots.around(batch)
    assert len(around.y) < len(spots) / 2
    torch.testing.assert_close(net.spots(around)[place], whole[batch], rtol=1e-4, atol=1e-5)


def test_a_batch_that_needs_most_spots_takes_all() -> None:
    spots = TrainingSpots([section(5, 0)], 2)
    batch = torch.tensor([12, 0])
    around, place = spots.around(batch)
    assert around is spots.whole
    assert torch.equal(place, batch)


@torch.no_grad()
def test_sections_hear_nothing_of_each_other_and_lie_where_they_like() -> None:
    net = network()
    alone = net.spots(TrainingSpots([section(4, 0)], 2).whole)
    beside = net.spots(TrainingSpots([section(4, 0, x0=1e6), section(4, 1)], 2).whole)
    torch.testing.assert_close(beside[:16], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_neighbours_and_places_are_heard() -> None:
    y, xy, near = section(4, 0)
    net = network()
    before = net.spots(TrainingSpots([(y, xy, near)], 2).whole)
    changed = y.copy()
    changed[5] = changed[5][::-1]
    after = net.spots(TrainingSpots([(changed, xy, near)], 2).whole)
    assert not torch.allclose(after[0], before[0])  # 0 and 5 are diagonal neighbours
    stretched = net.spots(TrainingSpots([(y, 1.5 * xy, near)], 2).whole)
    assert not torch.allclose(stretched[0], before[0])
