"""Moments of a core, applied to core and halo; those of several processes are in tests/models/test_distributed.py."""

import pytest
import torch

from histoquilt.nn.tiles._batch_norm import CoreBatchNorm
from histoquilt.runtime._device import torch_generator

N_SPOTS, N_CORE, N_FEATURES = 14, 9, 3


@pytest.fixture
def x() -> torch.Tensor:
    drawn = torch.randn(N_SPOTS, N_FEATURES, dtype=torch.float64, generator=torch_generator(0))
    return (drawn * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 30.0, -2.0])).requires_grad_()


def build() -> CoreBatchNorm:
    norm = CoreBatchNorm(N_FEATURES).double()
    torch.nn.init.uniform_(norm.weight, 0.5, 2, generator=torch_generator(1))
    torch.nn.init.normal_(norm.bias, generator=torch_generator(2))
    return norm


def test_core_and_halo_by_the_formula(x):
    norm = build()
    core = x[:N_CORE]
    variance = core.var(dim=0, correction=0)
    expected = (x - core.mean(dim=0)) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
    found = norm(x, N_CORE)
    torch.testing.assert_close(found, expected)
    slope = torch.randn(N_SPOTS, N_FEATURES, dtype=torch.float64, generator=torch_generator(3))
    for ours, autograd in zip(
        torch.autograd.grad(found, [x, norm.weight, norm.bias], slope),
        torch.autograd.grad(expected, [x, norm.weight, norm.bias], slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, autograd)
    assert torch.autograd.gradcheck(lambda x: build()(x, N_CORE), x)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_where_all_is_core_it_is_torchs_own(x, momentum):
    ours, theirs = build(), torch.nn.BatchNorm1d(N_FEATURES).double()
    theirs.load_state_dict(ours.state_dict())
    ours.momentum = theirs.momentum = momentum
    for shift in range(3):
        torch.testing.assert_close(ours(x + shift, N_SPOTS), theirs(x + shift))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    assert torch.equal(ours.eval()(x, N_CORE), theirs.eval()(x)) == torch.equal(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x, N_CORE), theirs.eval()(x))


def test_in_eval_mode_it_is_torchs_own_bit_for_bit(x):
    theirs = torch.nn.BatchNorm1d(N_FEATURES).double()
    theirs.load_state_dict(build().state_dict())
    assert torch.equal(build().eval()(x, N_CORE), theirs.eval()(x))
