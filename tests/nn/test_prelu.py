import pytest
import torch

from histoquilt.nn._prelu import SharedPReLU


@pytest.mark.parametrize("slope", [0.25, 0.0, -0.5, 1.0])
def test_agrees_with_torch(slope):
    x = torch.randn(30, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(30, 7, generator=torch.Generator().manual_seed(1))
    ours, theirs = SharedPReLU(init=slope), torch.nn.PReLU(init=slope)
    torch.testing.assert_close(ours(x), theirs(x))
    for a, b in zip(
        torch.autograd.grad((ours(x) * weight).sum(), [x, ours.weight]),
        torch.autograd.grad((theirs(x) * weight).sum(), [x, theirs.weight]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
