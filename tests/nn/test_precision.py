import pytest
import torch

from histoquilt.nn import MaskedGraphAutoencoder, TileDraws, TileGraph, _precision, product_dtype
from histoquilt.nn._precision import linear

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "device", "n_latent", "supported", "expected"),
    [
        ("auto", "cpu", 256, True, torch.bfloat16),
        ("auto", "cpu", 255, True, torch.float32),
        ("auto", "cpu", 256, False, torch.float32),
        ("auto", "cuda", 256, True, torch.float32),
        ("float32", "cpu", 256, True, torch.float32),
        ("bfloat16", "cpu", 16, False, torch.bfloat16),
    ],
)
def test_half_precision_only_for_wide_networks_on_processors_with_it(
    precision, device, n_latent, supported, expected, monkeypatch
):
    monkeypatch.setattr(_precision, "_multiplies_bfloat16", lambda: supported)
    assert product_dtype(precision, torch.device(device), n_latent) == expected


@pytest.mark.parametrize(("capability", "has_it"), [((8, 0), True), ((9, 0), True), ((7, 5), False)])
def test_half_precision_asked_of_a_gpu(monkeypatch, capability, has_it):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if has_it:
        assert product_dtype("bfloat16", torch.device("cuda"), 64) == torch.bfloat16
    else:
        with pytest.raises(ValueError, match=r"compute capability 8.0 or above, and cuda:0 has 7.5. Use precision"):
            product_dtype("bfloat16", torch.device("cuda:0"), 64)


def test_a_torch_that_does_not_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert product_dtype("auto", CPU, 512) == torch.float32


def test_linear_in_half_precision_has_gradients_in_full():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=generator).requires_grad_() for shape in ((50, 20), (30, 20)))
    low, full = linear(x, weight, torch.bfloat16), linear(x, weight, torch.float32)
    torch.testing.assert_close(full, x @ weight.T)
    direction = torch.randn(50, 30, generator=generator)
    ours = [low, *torch.autograd.grad(low, [x, weight], direction)]
    expected = [full, *torch.autograd.grad(full, [x, weight], direction)]
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == torch.float32
        assert 0 < (a - b).norm() < 0.01 * b.norm()


def trained(adjacency, dtype: torch.dtype) -> tuple[MaskedGraphAutoencoder, torch.Tensor]:
    """A few steps without dropout, whose draws differ between precisions; and the losses, (n_steps, 2)."""
    graph = TileGraph.whole(adjacency)
    x = torch.randn(80, 20, generator=torch.Generator().manual_seed(3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MaskedGraphAutoencoder(20, 64, 32, scorer_dropout=0.0, dtype=dtype)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    history = []
    for step in range(8):
        optimiser.zero_grad()
        losses = network(x, graph, TileDraws(0, step))
        (losses.feature + losses.edge).backward()
        optimiser.step()
        history.append([losses.feature.item(), losses.edge.item()])
    return network, torch.tensor(history)


def test_losses_of_a_few_steps_stay_close_and_repeat(adjacency):
    low, full = (trained(adjacency, dtype)[1] for dtype in (torch.bfloat16, torch.float32))
    torch.testing.assert_close(low, full, rtol=0.01, atol=0)
    assert not torch.equal(low, full)
    assert torch.equal(low, trained(adjacency, torch.bfloat16)[1])


def test_a_trained_network_answers_in_full_precision(adjacency):
    network = trained(adjacency, torch.bfloat16)[0].eval()
    graph, x = TileGraph.whole(adjacency), torch.randn(80, 20)
    with torch.no_grad():
        first = network.reconstruct(x, graph)
        network.dtype = torch.float32
        assert torch.equal(first, network.reconstruct(x, graph))
