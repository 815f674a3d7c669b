import math

import numpy as np
import pytest
import torch

from histoquilt.train import linear_cka


def embeddings(n_a: int = 6, n_b: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(60, 3, generator=generator)
    a = shared @ torch.randn(3, n_a, generator=generator) + torch.randn(60, n_a, generator=generator)
    return a, shared @ torch.randn(3, n_b, generator=generator)


def direct(a: torch.Tensor, b: torch.Tensor) -> float:
    """From the definition, with n x n kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    n = len(a)
    centring = np.eye(n) - 1 / n
    kernel_a, kernel_b = (centring @ (m.double().numpy() @ m.double().numpy().T) @ centring for m in (a, b))
    return np.trace(kernel_a @ kernel_b) / np.sqrt(np.trace(kernel_a @ kernel_a) * np.trace(kernel_b @ kernel_b))


def test_is_the_definition():
    a, b = embeddings()
    assert linear_cka(a, b) == pytest.approx(direct(a, b), rel=1e-4)
    assert linear_cka(b, a) == pytest.approx(linear_cka(a, b), rel=1e-5)
    assert 0.1 < linear_cka(a, b) < 0.9


def test_turning_shifting_and_scaling_do_not_matter():
    a, b = embeddings()
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    assert linear_cka(3 * a @ turn + 5, b) == pytest.approx(linear_cka(a, b), rel=1e-4)
    assert linear_cka(a, 0.1 * a @ turn - 2) == pytest.approx(1, abs=1e-5)
    assert linear_cka(a, a) <= 1


def test_unrelated():
    a = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    b = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    assert linear_cka(a, b) == pytest.approx(0, abs=1e-6)


def test_collapsed_embeddings_equal_each_other_only():
    a, _ = embeddings()
    flat = torch.full((60, 6), 2.0)
    assert linear_cka(flat, flat + 1) == 1
    assert linear_cka(a, flat) == 0


def test_nan_is_not_taken_for_agreement():
    a, _ = embeddings()
    assert math.isnan(linear_cka(a, torch.full_like(a, torch.nan)))
