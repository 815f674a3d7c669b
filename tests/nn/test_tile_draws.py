"""What is drawn hangs on seed, step and spot: any cut of the tissue that holds a part draws the same for it."""

import numpy as np
import pytest
import torch

from histoquilt.gr._tiles import among, halo
from histoquilt.nn import MaskedGraphAutoencoder, TileDraws, TileGraph
from histoquilt.nn._losses import scaled_cosine_error
from histoquilt.nn.tiles._hashed import happens, random_bits_for

FIRST, SECOND = np.arange(5, 25), np.arange(40, 70)  # places of two parts


def cut(adjacency, *parts: np.ndarray) -> TileGraph:
    rows, ends = halo(adjacency, np.concatenate(parts), 4)
    degree = np.diff(adjacency.indptr)[rows]
    local = among(adjacency, rows, int(ends[-2]))
    return TileGraph(local, ends, degree, rows, np.cumsum([len(part) for part in parts]))


def test_bits_hang_on_every_key():
    many = np.arange(100_000)
    assert happens(0.3, 1, 2, many).mean() == pytest.approx(0.3, abs=0.006)  # four standard deviations
    for keys in [(1, 3, many), (2, 2, many), (2, 1, many), (1, 2, many, many)]:
        both = happens(0.5, 1, 2, many) & happens(0.5, *keys)
        assert both.mean() == pytest.approx(0.25, abs=0.006)
    assert len(np.unique(random_bits_for(7, many))) == len(many)
    assert len(random_bits_for(2**40, 0)) == 1


def test_parts_draw_the_same_alone_and_together(adjacency):
    together = cut(adjacency, FIRST, SECOND)
    draws = TileDraws(seed=3, step=7)
    masked = dict(zip(together.places, draws.masked(together, 0.3), strict=True))
    pairs_together = draws.pairs(together, draws.hidden(together, 0.4))
    assert 0 < sum(masked.values()) < len(masked)
    for number, part in enumerate([FIRST, SECOND]):
        alone = cut(adjacency, part)
        own = TileDraws(seed=3, step=7, first_part=number)
        assert all(masked[place] == drawn for place, drawn in zip(alone.places, own.masked(alone, 0.3), strict=True))
        (pairs,) = own.pairs(alone, own.hidden(alone, 0.4))
        of_union = pairs_together[number]
        assert len(pairs.positive) > 5
        for name in ("positive", "negative"):
            mine, theirs = alone.places[getattr(pairs, name)], together.places[getattr(of_union, name)]
            np.testing.assert_array_equal(mine, theirs)
        assert torch.equal(pairs.generator.get_state(), of_union.generator.get_state())
    other = TileDraws(seed=3, step=8)
    assert (other.masked(together, 0.3) != draws.masked(together, 0.3)).any()
    assert (other.hidden(together, 0.4) != draws.hidden(together, 0.4)).any()


def test_every_edge_belongs_to_one_part(adjacency):
    places = np.arange(80)
    owned = [cut(adjacency, part) for part in np.array_split(places[::-1], 3)]
    pairs = np.concatenate([graph.places[graph.owned_edges[1]] for graph in owned])
    expected = np.argwhere(np.triu(adjacency.toarray() > 0))
    np.testing.assert_array_equal(pairs[np.lexsort(pairs.T[::-1])], expected)


def test_negatives_are_no_edges_of_the_same_part(adjacency):
    graph = cut(adjacency, FIRST, SECOND)
    pairs = TileDraws(0, 0).pairs(graph, np.ones(graph.n_edges, bool))
    for part, own in zip([FIRST, SECOND], pairs, strict=True):
        owner, other = graph.places[own.negative.numpy()].T
        assert np.isin(owner, part).all()
        assert np.isin(other, part).all()
        assert (owner == graph.places[own.positive[:, 0].numpy()]).all()
        assert (owner != other).all()
        assert not adjacency[owner, other].any()
        assert len(set(other)) > len(part) // 2  # from all of the part


def test_a_part_of_neighbours_alone_has_no_pair_to_score(adjacency):
    edge = np.array(np.nonzero(adjacency)).T[0]
    graph = cut(adjacency, edge, SECOND)
    first, second = TileDraws(0, 0).pairs(graph, np.ones(graph.n_edges, bool))
    assert len(first.positive) == len(first.negative) == 0
    assert len(second.positive) > 0


def test_losses_of_a_tile_that_holds_all_are_those_of_the_whole_graph(adjacency):
    torch.manual_seed(0)
    network = MaskedGraphAutoencoder(6, 16, 8, scorer_dropout=0.0)
    x = torch.randn(80, 6)
    graph, whole = cut(adjacency, *np.array_split(np.arange(80), 3)), TileGraph.whole(adjacency)
    draws = TileDraws(1, 2)
    losses = network(x, graph, draws)
    masked = torch.from_numpy(draws.masked(graph, network.mask_rate))
    x_hat = network.reconstruct(x, whole, masked)
    torch.testing.assert_close(losses.feature, scaled_cosine_error(x[masked], x_hat[masked], network.alpha))
    hidden = draws.hidden(graph, network.edge_mask_rate)
    pairs = draws.pairs(graph, hidden)
    z = network.encode(x, whole, torch.from_numpy(hidden))
    both = [torch.cat([getattr(part, name) for part in pairs]) for name in ("positive", "negative")]
    expected = network.scorer.loss(z, *both, torch.Generator())
    torch.testing.assert_close(losses.edge, expected)
    gradients = [
        torch.autograd.grad(loss, list(network.scorer.parameters()), retain_graph=True)
        for loss in (losses.edge, expected)
    ]
    torch.testing.assert_close(*gradients)
