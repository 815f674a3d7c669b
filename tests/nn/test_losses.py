import numpy as np
import pytest
import torch

from histoquilt.nn import (
    complementary_masks,
    cosine_loss,
    gene_correlation_loss,
    hide,
    scaled_cosine_error,
)


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


def test_cosine_loss_by_hand():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    b = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert cosine_loss(a, b).item() == pytest.approx((0 + 2 + 4) / 3)


def test_gene_correlation_is_that_of_numpy():
    rng = np.random.default_rng(0)
    measured = rng.normal(3, 2, (40, 5))
    predicted = 0.3 * measured + rng.normal(size=(40, 5))
    expected = 1 - np.mean([np.corrcoef(predicted[:, g], measured[:, g])[0, 1] for g in range(5)])
    loss = gene_correlation_loss(torch.from_numpy(predicted), torch.from_numpy(measured))
    assert loss.item() == pytest.approx(expected)
    assert gene_correlation_loss(torch.from_numpy(2 * measured + 1), torch.from_numpy(measured)).item() < 1e-6


@pytest.mark.parametrize("constant", [0.0, 7.3])
def test_constant_genes_count_as_zero_and_have_no_gradient(constant):
    generator = torch.Generator().manual_seed(0)
    predicted, measured = (torch.randn(50, 3, generator=generator) + constant for _ in range(2))
    measured[:, 0], predicted[:, 1] = constant, constant + 0.1  # 7.4 leaves a rest when centred in float32
    predicted.requires_grad_()
    loss = gene_correlation_loss(predicted, measured)
    loss.backward()
    alone = np.corrcoef(predicted[:, 2].detach(), measured[:, 2])[0, 1]
    assert loss.item() == pytest.approx(1 - alone / 3, abs=1e-5)
    assert (predicted.grad[:, :2] == 0).all()
    assert (predicted.grad[:, 2] != 0).any()
    assert torch.isfinite(predicted.grad).all()


def test_gene_correlation_gradients():
    generator = torch.Generator().manual_seed(0)
    predicted, measured = (torch.randn(6, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    assert torch.autograd.gradcheck(gene_correlation_loss, (predicted.requires_grad_(), measured))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9, 1.0])
def test_every_value_is_hidden_in_exactly_one_view(rate, generator):
    first, second = complementary_masks((300, 101), rate, generator)
    assert torch.equal(first, ~second)
    assert first.float().mean().item() == pytest.approx(rate, abs=0.01)
    if 0 < rate < 1:
        assert not (first == first[:1]).all()  # single values, neither whole features
        assert not (first == first[:, :1]).all()  # nor whole nodes


def test_views_hold_together_what_there_was(generator):
    x = torch.randn(200, 50, generator=generator)
    first, second = complementary_masks(x.shape, 0.3, generator)
    torch.testing.assert_close(hide(x, first, rescale=False) + hide(x, second, rescale=False), x)
    weight = torch.rand(50, generator=generator)
    for hidden in (first, second):  # what a linear layer sees keeps its mean size
        ones = hide(torch.ones_like(x), hidden) @ weight
        assert ones.mean().item() == pytest.approx(weight.sum().item(), rel=0.01)
    assert (hide(x, torch.ones_like(first)) == 0).all()


def test_mask_rate_out_of_range(generator):
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.2"):
        complementary_masks((3, 3), 1.2, generator)
