import numpy as np
import pytest
import torch

from histoquilt.nn import contrastive_loss


def test_by_hand():
    spot = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    image = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    # logits [[2, 1], [0, 0]]; rows: log(1 + e^-1), log 2; columns: log(1 + e^-2), log(1 + e)
    rows = np.log1p(np.exp(-1)) + np.log(2)
    columns = np.log1p(np.exp(-2)) + np.log1p(np.e)
    assert contrastive_loss(spot, image).item() == pytest.approx((rows + columns) / 4)
    assert contrastive_loss(2 * spot, image, 2.0).item() == pytest.approx((rows + columns) / 4)


def test_symmetric_and_lowest_for_true_pairs(generator):
    spot, image = (torch.randn(20, 6, generator=generator) for _ in range(2))
    torch.testing.assert_close(contrastive_loss(spot, image), contrastive_loss(image, spot))
    paired = 4 * torch.nn.functional.normalize(spot, dim=1)
    assert contrastive_loss(paired, paired) < contrastive_loss(paired, paired.roll(1, 0))


def test_pairs_weigh_as_asked(generator):
    spot, image = (torch.randn(6, 4, generator=generator) for _ in range(2))
    equal = contrastive_loss(spot, image, 0.5, weights=torch.full((6,), 3.0))
    torch.testing.assert_close(equal, contrastive_loss(spot, image, 0.5))
    one = contrastive_loss(spot, image, 0.5, weights=torch.eye(6)[2])
    logits = 2 * spot @ image.T
    own = (logits[2].logsumexp(0) + logits[:, 2].logsumexp(0)) / 2 - logits[2, 2]
    torch.testing.assert_close(one, own)


def test_gradients():
    spot, image = (
        torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(s)).requires_grad_()
        for s in (0, 1)
    )
    assert torch.autograd.gradcheck(lambda a, b: contrastive_loss(a, b, 0.5), (spot, image))


def test_wrong_input():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4, 2\)"):
        contrastive_loss(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"temperature must be positive, got 0\.0"):
        contrastive_loss(torch.ones(3, 2), torch.ones(3, 2), 0.0)
