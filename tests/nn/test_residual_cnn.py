import pytest
import torch

from histoquilt.nn import ResidualCNN


def build(**keywords: object) -> ResidualCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualCNN(**keywords)


def stripes(n: int, side: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches with stripes along x or along y, shifted at random, in noise: their mean colour tells nothing."""
    label = torch.arange(n) % 2
    phase = torch.rand(n, 1, 1, generator=generator) * 2 * torch.pi
    wave = torch.sin(torch.arange(side) * 0.8 + phase)  # (n, 1, side)
    grey = torch.where(label[:, None, None] == 1, wave, wave.transpose(1, 2)) * 40 + 150
    noise = 25 * torch.randn(n, side, side, 3, generator=generator)
    return (grey[..., None] + noise).clamp(0, 255).to(torch.uint8), label


def test_learns_in_seconds_what_mean_colour_does_not_tell(generator):
    patches, label = stripes(96, 32, generator)
    held_out, truth = stripes(60, 32, generator)
    network = build(widths=(8, 16, 32))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        readout = torch.nn.Linear(network.n_features, 2)
    optimizer = torch.optim.Adam([*network.parameters(), *readout.parameters()], lr=3e-3)
    before = network.stem.weight.detach().clone()
    for _ in range(8):
        for rows in torch.randperm(96, generator=generator).split(32):
            loss = torch.nn.functional.cross_entropy(readout(network(patches[rows])), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert not torch.equal(before, network.stem.weight)
    with torch.no_grad():
        correct = (readout(network(held_out)).argmax(1) == truth).float().mean()
    assert correct > 0.95


@pytest.mark.parametrize("side", [32, 47, 64])
def test_shapes_and_types(side, generator):
    network = build()
    patches = torch.randint(256, (3, side, side, 3), dtype=torch.uint8, generator=generator)
    features = network(patches)
    assert features.shape == (3, network.n_features) == (3, 128)
    torch.testing.assert_close(features, network(patches.float() / 255))


def test_batch_mates_change_nothing(generator):
    network = build().train()
    patches = torch.randint(256, (6, 32, 32, 3), dtype=torch.uint8, generator=generator)
    torch.testing.assert_close(network(patches)[:2], network(patches[:2]), atol=1e-5, rtol=1e-4)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"height, width, 3\), got \(2, 3, 32, 32\)"):
        build()(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"multiples of n_groups=8, got \(12, 16\)"):
        ResidualCNN((12, 16))
