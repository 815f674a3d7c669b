import numpy as np
import torch
from scipy.sparse import eye

from histoquilt.nn import UndirectedGraph, smooth_by_hops


def line(n_spots: int) -> UndirectedGraph:
    return UndirectedGraph((eye(n_spots, k=1) + eye(n_spots, k=-1)).tocsr())


def test_every_feature_by_its_own_hops(adjacency):
    graph = UndirectedGraph(adjacency)
    averaging = graph.averaging.matrix.to_dense()
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    smooth = smooth_by_hops(x, graph.averaging, torch.tensor([0, 1, 3]))
    expected = [x[:, 0], (averaging @ x)[:, 1], (averaging @ averaging @ averaging @ x)[:, 2]]
    torch.testing.assert_close(smooth, torch.stack(expected, dim=1))


def test_hidden_spots_by_hand():
    x = torch.tensor([[1.0, 1.0], [8.0, 8.0], [3.0, 3.0]])
    hidden = torch.tensor([False, True, False])
    smooth = smooth_by_hops(x, line(3).averaging, torch.tensor([0, 1]), hidden)
    # not averaged: hidden is zero. Averaged once: each end sees itself alone, the hidden middle both ends
    np.testing.assert_allclose(smooth.numpy(), [[1, 1], [0, 2], [3, 3]], rtol=1e-6)


def test_what_a_hidden_spot_holds_does_not_count(adjacency):
    graph = UndirectedGraph(adjacency)
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    hidden = torch.arange(80) % 3 == 0
    other = torch.where(hidden[:, None], 1e3 * torch.ones_like(x), x)
    hops = torch.tensor([0, 1, 2, 5])
    expected = smooth_by_hops(x, graph.averaging, hops, hidden)
    torch.testing.assert_close(smooth_by_hops(other, graph.averaging, hops, hidden), expected)


def test_nobody_within_reach_is_zero_not_nan():
    hidden = torch.tensor([True, True, True, False])
    smooth = smooth_by_hops(torch.ones(4, 1), line(4).averaging, torch.tensor([1]), hidden)
    assert smooth.squeeze(1).tolist() == [0, 0, 1, 1]
