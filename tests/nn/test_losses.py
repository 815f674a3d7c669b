import numpy as np
import pytest
import torch

from histoweave.nn import draw_mask, edge_contrast, scaled_cosine_error


def test_scaled_cosine_error_by_hand():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    x_hat = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0], [4.0, 3.0]])
    # cosines 1, 0, -1, 24/25
    assert scaled_cosine_error(x, x_hat, alpha=1).item() == pytest.approx((0 + 1 + 2 + 0.04) / 4)
    assert scaled_cosine_error(x, x_hat).item() == pytest.approx((0 + 1 + 4 + 0.04**2) / 4)
    assert scaled_cosine_error(x, x_hat, alpha=3).item() == pytest.approx((0 + 1 + 8 + 0.04**3) / 4)


def test_scaled_cosine_error_of_equal_rows_has_a_gradient_that_is_a_number():
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    x_hat = x.clone().requires_grad_()
    scaled_cosine_error(x, x_hat).backward()
    assert torch.isfinite(x_hat.grad).all()


def test_spots_without_a_count_do_no_harm():
    x_hat = torch.ones(2, 3, requires_grad=True)
    loss = scaled_cosine_error(torch.zeros(2, 3), x_hat)
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(x_hat.grad).all()


def test_edge_contrast_by_hand():
    positive, negative = torch.tensor([0.0, 2.0]), torch.tensor([-1.0])
    expected = (np.log(2) + np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 3
    assert edge_contrast(positive, negative).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n", "rate", "expected"), [(100, 0.3, 30), (10, 0.36, 4), (3, 0.1, 1), (7, 1.0, 7), (5, 0.0, 0), (0, 0.5, 0)]
)
def test_number_masked(n, rate, expected, generator):
    mask = draw_mask(n, rate, generator)
    assert mask.dtype == torch.bool
    assert mask.shape == (n,)
    assert mask.sum() == expected


def test_every_item_is_masked_as_often(generator):
    share = torch.stack([draw_mask(20, 0.3, generator) for _ in range(3000)]).float().mean(dim=0)
    assert (share - 0.3).abs().max() < 0.05


def test_mask_follows_the_seed_and_nothing_else():
    torch.manual_seed(5)
    first = draw_mask(50, 0.5, torch.Generator().manual_seed(1))
    torch.manual_seed(6)
    assert torch.equal(first, draw_mask(50, 0.5, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, draw_mask(50, 0.5, torch.Generator().manual_seed(2)))
