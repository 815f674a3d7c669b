"""Tiles say what the whole graph says, and training on them learns the tissue."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoquilt.datasets import toy_section
from histoquilt.gr import knn_adjacency, stack_links
from histoquilt.models import SpaMask, SpaMaskConfig, load
from histoquilt.models.domains._feature_model import Tissue
from histoquilt.models.spamask._tiles import Tiles, parts_of_batch
from histoquilt.nn import MaskedGraphAutoencoder, TileGraph
from histoquilt.runtime._device import torch_generator

SMALL = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=30, max_epochs=6, tile_spots=100)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def section():
    return toy_section(n_spots=2000, n_genes=120, n_domains=4, seed=1)


@pytest.fixture(scope="module")
def tiled(section):
    return SpaMask(SMALL).fit(section, seed=3, progress=False)


def both_ways(model: SpaMask, adata, **more):
    """What a model says tile by tile, and what it says of the tile that holds all spots."""
    outputs = []
    for tile_spots in (model.config.tile_spots, 10_000):
        model.config = replace(model.config, tile_spots=tile_spots)
        outputs.append(model.run(adata, **more))
    model.config = replace(model.config, tile_spots=SMALL.tile_spots)
    return outputs


def test_tiles_say_what_the_whole_graph_says(section, monkeypatch):
    monkeypatch.setattr("histoquilt.models.spamask._tiles.BATCH_SPOTS", 250)
    config = replace(SMALL, n_networks=2, tile_spots=90)
    by_tiles, whole = both_ways(SpaMask(config).fit(section, progress=False), section)
    assert by_tiles.embedding.dtype == np.float32
    assert np.abs(whole.embedding).max() > 0.1
    assert np.abs(by_tiles.embedding - whole.embedding).max() < 1e-5
    assert np.abs(by_tiles.reconstruction - whole.reconstruction).max() < 1e-5


def test_so_they_do_of_linked_sections(monkeypatch):
    monkeypatch.setattr("histoquilt.models.spamask._tiles.BATCH_SPOTS", 250)
    stack = toy_section(n_spots=500, n_genes=120, n_domains=4, n_sections=3, seed=1)
    names = sorted(stack.obs["section"].unique())
    links = stack_links(stack.obsm["spatial"], stack.obs["section"], names, 2)
    model = SpaMask(replace(SMALL, match_sections=False)).fit(stack, section_key="section", links=links, progress=False)
    by_tiles, whole = both_ways(model, stack, links=links)
    assert np.abs(by_tiles.embedding - whole.embedding).max() < 1e-5
    without, _ = both_ways(model, stack)
    assert np.abs(by_tiles.embedding - without.embedding).max() > 1e-3  # the halo crosses sections


def tiles_of(section, tile_spots: int) -> Tiles:
    spatial = section.obsm["spatial"]
    return Tiles.of(Tissue(knn_adjacency(spatial, 6), spatial, None), tile_spots)


def test_a_pass_with_hidden_edges_in_a_tile_is_that_of_the_whole_graph(section):
    adjacency = knn_adjacency(section.obsm["spatial"], 6)
    x = torch.randn(section.n_obs, 5, generator=torch_generator(0))
    torch.manual_seed(0)
    network = MaskedGraphAutoencoder(5, 12, 8).eval()
    tile, whole = tiles_of(section, 150).cut([[1, 7]], 4, CPU), TileGraph.whole(adjacency)
    # edges hidden in both, by the spots at their ends
    hide = lambda pairs: (pairs.min(1).values * 31 + pairs.max(1).values * 17) % 5 < 2  # noqa: E731
    of_tile = hide(torch.from_numpy(tile.rows)[tile.graph.edges])
    with torch.no_grad():
        z = network.encode(x[tile.rows], tile.graph, of_tile)
        z_whole = network.encode(x, whole, hide(torch.from_numpy(whole.edges)))
    torch.testing.assert_close(z, z_whole[tile.rows[: len(z)]], atol=1e-5, rtol=0)


def test_edges_of_a_tile(section):
    adjacency = knn_adjacency(section.obsm["spatial"], 6)
    tile = tiles_of(section, 150).cut([[2]], 4, CPU)
    graph, core = tile.graph, set(tile.core.tolist())
    true = {(a, b) for a, b in zip(*adjacency.nonzero(), strict=True)}
    pairs = [tuple(pair) for pair in tile.rows[graph.edges].tolist()]
    assert true.issuperset(pairs)
    of_core = {tuple(sorted(pair)) for pair in pairs if core & set(pair)}
    assert of_core == {(a, b) for a, b in true if a < b and (a in core or b in core)}
    assert graph.are_edges(graph.edges).all()
    assert not graph.are_edges(np.array([[0, 0], [1, 1]])).any()


def test_batches_are_scattered_and_read_everything_once():
    centres = np.random.default_rng(0).uniform(size=(20_480, 2))
    tiles = Tiles.of(Tissue(knn_adjacency(centres, 4), centres, None), 1024)
    assert (len(tiles), tiles.per_batch) == (20, 4)
    drawn = tiles.scattered(np.random.default_rng(0), 1)
    batches = [next(drawn)[0] for _ in range(5)]
    assert sorted(number for batch in batches for number in batch) == list(range(20))
    assert all([number // 5 for number in batch] == [0, 1, 2, 3] for batch in batches)
    assert [number for batch in tiles.in_batches() for number in batch] == list(range(20))


def test_no_tile_is_twice_in_a_batch_of_parts():
    centres = np.random.default_rng(0).uniform(size=(20_480, 2))
    tiles = Tiles.of(Tissue(knn_adjacency(centres, 4), centres, None), 1024)
    drawn = tiles.scattered(np.random.default_rng(0), 3)
    batches = [next(drawn) for _ in range(20)]
    counts = np.zeros(20, int)
    for batch in batches:
        assert [[number // 5 for number in part] for part in batch] == 3 * [[0, 1, 2, 3]]
        assert len({number for part in batch for number in part}) == 12
        np.add.at(counts, np.concatenate(batch), 1)
    assert set(counts) == {12}
    assert tiles.per_part(3) == 4
    assert tiles.per_part(8) == 2
    with pytest.raises(ValueError, match=r"A batch of 21 parts .* there are 20\. Use fewer processes"):
        tiles.per_part(21)


def test_parts_of_a_batch(section, monkeypatch):
    monkeypatch.setattr("histoquilt.models.spamask._tiles.BATCH_SPOTS", 300)
    one, two = (SpaMask(replace(SMALL, n_parts=n)).fit(section, progress=False) for n in (1, 2))
    assert [model.training_facts["parts"] for model in (one, two)] == [1, 2]
    assert two.training_facts["processes"] == 1
    assert np.abs(one.embed(section) - two.embed(section)).max() > 1e-3
    for parts, processes, expected in [(1, 1, 1), (3, 1, 3), (1, 4, 4), (5, 4, 8)]:
        monkeypatch.setattr("histoquilt.models.spamask._tiles.n_processes", lambda n=processes: n)
        assert parts_of_batch(parts) == expected


def test_a_small_section_is_one_batch(section, tiled):
    facts = tiled.training_facts
    assert (facts["tiles"], facts["steps"]) == (20, 6)
    tiles = tiles_of(section, 1024)
    batch = [0, 1]
    assert next(tiles.scattered(np.random.default_rng(0), 1)) == [batch]
    tile = tiles.cut([batch], 4, CPU)
    assert sorted(tile.core) == list(range(section.n_obs))
    assert tiles.cut([batch], 4, CPU) is tile


def test_a_seed_fixes_the_result_and_a_folder_keeps_it(section, tiled, tmp_path):
    again = SpaMask(SMALL).fit(section, seed=3, progress=False)
    assert (again.embed(section) == tiled.embed(section)).all()
    tiled.save(tmp_path / "model")
    assert (load(tmp_path / "model").embed(section) == tiled.embed(section)).all()


def test_training_on_tiles_learns_the_tissue(section, monkeypatch):
    """Steps on parts of the tissue lower the losses as steps on all of it do."""
    config = replace(SMALL, n_pcs=10, max_epochs=60)
    last = []
    for batch_spots in (500, 4096):
        monkeypatch.setattr("histoquilt.models.spamask._tiles.BATCH_SPOTS", batch_spots)
        history = SpaMask(config).fit(section, progress=False).training_facts["history"]
        assert history["feature_loss"].iloc[-10:].mean() < 0.8 * history["feature_loss"].iloc[:5].mean()
        last.append(history["feature_loss"].iloc[-10:].mean())
    assert last[0] < 1.1 * last[1]
