import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from histoquilt.nn import GCNEncoder, GCNLayer, MaskedGraphAutoencoder, TileDraws, TileGraph

N_FEATURES = 12


@pytest.fixture
def graph(adjacency) -> TileGraph:
    return TileGraph.whole(adjacency)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(80, N_FEATURES, generator=torch.Generator().manual_seed(3))


def build(**settings) -> MaskedGraphAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MaskedGraphAutoencoder(N_FEATURES, 16, 8, **settings)
    return network


DRAWS = TileDraws(7, 0)


def masked_by(draws, graph, network) -> torch.Tensor:
    return torch.from_numpy(draws.masked(graph, network.mask_rate))


def seen_by_encoder(network, x, graph) -> list[tuple]:
    """What the shared encoder is given in the feature pass, and in the edge pass."""
    seen = []
    handle = network.encoder.register_forward_pre_hook(lambda module, args: seen.append(args))
    network(x, graph, DRAWS)
    handle.remove()
    return seen


def test_layer_by_hand():
    layer = GCNLayer(2, 1)
    layer.load_state_dict({"linear.weight": torch.tensor([[1.0, 10.0]]), "bias": torch.tensor([0.5])})
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    pair = TileGraph.whole(csr_matrix([[0, 1], [1, 0]]))
    torch.testing.assert_close(layer(x, pair.decoding), torch.tensor([[6.0], [6.0]]))  # mean of 1 and 10, and 0.5


@pytest.mark.parametrize(("n_in", "n_out"), [(5, 20), (20, 5)])
def test_order_of_products_does_not_matter(graph, n_in, n_out):
    layer = GCNLayer(n_in, n_out)
    x = torch.randn(80, n_in)
    expected = graph.decoding.matrix.to_dense() @ x @ layer.linear.weight.T + layer.bias
    torch.testing.assert_close(layer(x, graph.decoding), expected)


def test_encoder_has_one_activation_for_both_layers(graph, x):
    encoder = GCNEncoder(N_FEATURES, 16, 8)
    assert encoder(x, graph.encoding(), n_core=80).shape == (80, 8)
    assert sum(isinstance(module, torch.nn.PReLU) for module in encoder.modules()) == 1


def test_masked_features_are_replaced(graph, x):
    network = build()
    network.token.data.fill_(0.25)
    masked = masked_by(DRAWS, graph, network)
    (seen, *_), _ = seen_by_encoder(network, x, graph)
    assert (seen[masked] == 0.25).all()
    assert torch.equal(seen[~masked], x[~masked])


def test_features_of_masked_spots_reach_nothing_but_the_target(graph, x):
    """The idea of the method: change what is masked, and the network's output stays the same."""
    network = build()
    masked = masked_by(DRAWS, graph, network)

    def reconstruction(features: torch.Tensor) -> torch.Tensor:
        return network.reconstruct(features, graph, masked).detach()

    changed = torch.where(masked[:, None], 100 * torch.randn(80, N_FEATURES), x)
    torch.testing.assert_close(reconstruction(changed)[masked], reconstruction(x)[masked])
    assert not torch.allclose(reconstruction(x + 1)[masked], reconstruction(x)[masked]), "it does read the others"


def test_only_masked_spots_are_scored(graph, x):
    network = build()
    features = x.clone().requires_grad_()
    masked = masked_by(DRAWS, graph, network)
    reached = masked.float()
    for _ in range(3):  # two layers of the encoder, one of the decoder
        reached = (graph.decoding.matrix @ reached[:, None]).squeeze(1)
    far = reached == 0
    network.eval()  # batch statistics would link all spots
    network(features, graph, DRAWS).feature.backward()
    assert (features.grad[far] == 0).all()
    assert (features.grad[masked] != 0).any()


def test_decoder_cannot_read_a_masked_spots_own_latent(graph, x):
    network = build()
    seen = []
    network.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(x, graph, DRAWS)
    masked = masked_by(DRAWS, graph, network)
    assert (seen[0][masked] == 0).all()
    assert (seen[0][~masked] != 0).any(dim=1).all()


def test_edge_pass_sees_unmasked_features_on_the_graph_less_its_hidden_edges(graph, x):
    network = build()
    _, (features, propagation) = seen_by_encoder(network, x, graph)
    assert torch.equal(features, x)
    n_hidden = int(DRAWS.hidden(graph, 0.4).sum())
    assert 0.2 * graph.n_edges < n_hidden < 0.6 * graph.n_edges
    for step in propagation:
        assert step.matrix.values().numel() == 80 + 2 * (graph.n_edges - n_hidden)


def test_everything_learns(graph, x):
    network = build()
    losses = network(x, graph, DRAWS)
    (losses.feature + losses.edge).backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    # a bias before BatchNorm is taken out again by it
    assert set(without) <= {"encoder.layers.0.bias", "encoder.layers.1.bias"}
    assert network.token.grad.abs().max() > 0
    assert 0 <= losses.feature.item() <= 4
    assert losses.edge.item() > 0


def test_training_lowers_both_losses(graph, adjacency):
    smooth = torch.from_numpy(np.linalg.matrix_power(graph.decoding.matrix.to_dense().numpy(), 4)) @ torch.randn(
        80, N_FEATURES, generator=torch.Generator().manual_seed(1)
    )
    smooth = (smooth - smooth.mean(dim=0)) / smooth.std(dim=0)
    network = build()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    history = []
    for step in range(40):
        optimiser.zero_grad()
        losses = network(smooth, graph, TileDraws(0, step))
        (losses.feature + losses.edge).backward()
        optimiser.step()
        history.append((losses.feature.item(), losses.edge.item()))
    first, last = np.mean(history[:5], axis=0), np.mean(history[-5:], axis=0)
    assert last[0] < 0.6 * first[0]
    assert last[1] < 0.9 * first[1]


def test_eval_has_no_randomness(graph, x):
    network = build().eval()
    with torch.no_grad():
        assert network.reconstruct(x, graph).shape == (80, N_FEATURES)
        assert torch.equal(network.reconstruct(x, graph), network.reconstruct(x, graph))
        assert network.encode(x, graph).shape == (80, 8)


def losses_after_two_steps(graph, x, seed: int) -> tuple[float, float]:
    network = build()
    network(x, graph, TileDraws(seed, 0))
    losses = network(x, graph, TileDraws(seed, 1))
    return losses.feature.item(), losses.edge.item()


def test_the_seed_alone_decides(graph, x):
    torch.manual_seed(1)
    first = losses_after_two_steps(graph, x, 5)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert losses_after_two_steps(graph, x, 5) == first
    assert losses_after_two_steps(graph, x, 6) != first
    torch.manual_seed(1)
    losses_after_two_steps(graph, x, 5)
    assert torch.equal(torch.get_rng_state(), state), "global random state is left alone"


def test_number_of_threads_hardly_matters(graph, x):
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = losses_after_two_steps(graph, x, 5)
        torch.set_num_threads(2)
        np.testing.assert_allclose(losses_after_two_steps(graph, x, 5), one, rtol=1e-4)
    finally:
        torch.set_num_threads(n_threads)


@pytest.mark.parametrize("links", [[], [(0, 1), (0, 2), (1, 2)]], ids=["no edge", "complete"])
def test_no_contrast_where_there_is_none_to_draw(links):
    adjacency = np.zeros((3, 3))
    for i, j in links:
        adjacency[i, j] = adjacency[j, i] = 1
    graph = TileGraph.whole(csr_matrix(adjacency))
    network = build()
    losses = network(torch.randn(3, N_FEATURES), graph, TileDraws(1, 2))
    assert losses.edge.item() == 0
    (losses.feature + losses.edge).backward()
    assert torch.isfinite(network.decoder.linear.weight.grad).all()
