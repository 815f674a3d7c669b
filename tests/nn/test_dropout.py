import pytest
import torch

from histoquilt.nn import dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_dropped_everywhere_and_the_mean_is_kept(rate, generator):
    x = torch.ones(401, 101)  # an odd number of values
    dropped = dropout(x, rate, generator)
    hidden = dropped == 0
    assert hidden.float().mean().item() == pytest.approx(rate, abs=0.01)
    assert (hidden.float().mean(dim=0) - rate).abs().max() < 0.12  # 5 standard deviations of a column
    assert dropped[~hidden].unique().item() == pytest.approx(1 / (1 - rate), rel=2e-4)
    assert torch.equal(x, torch.ones(401, 101))


def test_the_seed_alone_decides():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    results = []
    for global_seed, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(global_seed)
        results.append(dropout(x, 0.5, torch.Generator().manual_seed(seed)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_gradients():
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dropout(x, 0.3, torch.Generator().manual_seed(1)), (x,))


def test_wrong_input(generator):
    x = torch.ones(3)
    assert dropout(x, 0.0, None) is x
    with pytest.raises(ValueError, match=r"less than 1, got 1\.0"):
        dropout(x, 1.0, generator)
    with pytest.raises(ValueError, match=r"pass generator=, or call \.eval"):
        dropout(x, 0.1, None)
