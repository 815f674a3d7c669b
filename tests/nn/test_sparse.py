import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, random

from histoquilt.nn import Propagation


def sparse(n_rows: int, n_columns: int, seed: int = 0) -> csr_matrix:
    return csr_matrix(random(n_rows, n_columns, density=0.4, random_state=seed))


def symmetric(n: int) -> csr_matrix:
    half = sparse(n, n)
    return csr_matrix(half + half.T)


def double(matrix: csr_matrix, *, symmetric: bool) -> Propagation:
    return Propagation.from_scipy(matrix, symmetric=symmetric, dtype=torch.float64)


@pytest.mark.parametrize(
    ("matrix", "is_symmetric"),
    [(sparse(5, 8), False), (sparse(8, 5), False), (sparse(6, 6), False), (symmetric(6), True), (symmetric(6), False)],
    ids=["wide", "tall", "directed", "symmetric", "symmetric, both stored"],
)
def test_gradients(matrix, is_symmetric):
    propagation = double(matrix, symmetric=is_symmetric)
    x = torch.randn(matrix.shape[1], 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(propagation, (x,))


def test_a_directed_matrix_called_symmetric_gets_wrong_gradients():
    matrix = sparse(6, 6)
    propagation = double(matrix, symmetric=True)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(propagation(x), torch.from_numpy(matrix.toarray()) @ x)  # the product is still right
    assert not torch.autograd.gradcheck(propagation, (x,), raise_exception=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_the_dense_product(dtype):
    matrix = sparse(30, 20)
    x = torch.randn(20, 7, dtype=dtype)
    product = Propagation.from_scipy(matrix, symmetric=False, dtype=dtype)(x)
    assert product.dtype == dtype
    torch.testing.assert_close(product, torch.from_numpy(matrix.toarray()).to(dtype) @ x)


def test_strided_input():
    matrix = sparse(10, 8)
    x = torch.randn(5, 8)
    expected = torch.from_numpy(matrix.toarray()).float() @ x.T
    torch.testing.assert_close(Propagation.from_scipy(matrix, symmetric=False)(x.T), expected)


@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_goes_in_and_comes_out(autocast):
    matrix = sparse(30, 20)
    x = torch.randn(20, 7).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        product = Propagation.from_scipy(matrix, symmetric=False)(x)
    product.float().sum().backward()
    assert product.dtype == x.grad.dtype == torch.bfloat16
    dense = torch.from_numpy(matrix.toarray()).float()
    torch.testing.assert_close(product.float(), dense @ x.detach().float(), rtol=0.01, atol=0.01)
    torch.testing.assert_close(x.grad.float(), dense.sum(dim=0)[:, None].expand(20, 7), rtol=0.01, atol=0.01)


def test_the_scipy_matrix_is_neither_changed_nor_shared():
    matrix = csr_matrix((np.array([1, 2, 3], np.float32), np.array([1, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    propagation = Propagation.from_scipy(matrix, symmetric=False)
    assert matrix.indices.tolist() == [1, 0, 1]
    matrix.data[:] = 100
    torch.testing.assert_close(propagation(torch.eye(2)), torch.tensor([[2.0, 1.0], [0.0, 3.0]]))


def test_entries_stored_twice_are_summed():
    matrix = csr_matrix((np.ones(3, np.float32), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    torch.testing.assert_close(
        Propagation.from_scipy(matrix, symmetric=False)(torch.eye(2)), torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    )


def test_wrong_input():
    with pytest.raises(TypeError, match="scipy sparse matrix, got ndarray"):
        Propagation.from_scipy(np.eye(3), symmetric=True)
    with pytest.raises(ValueError, match="cannot equal its transpose"):
        Propagation.from_scipy(sparse(3, 4), symmetric=True)


def test_torchs_news_of_its_beta_does_not_reach_the_user():
    program = (
        "import warnings; warnings.simplefilter('error')\n"
        "from scipy.sparse import eye\n"
        "from histoquilt.nn import Propagation, TileGraph\n"
        "Propagation.from_scipy(eye(3, format='csr'), symmetric=True)\n"
        "graph = TileGraph.whole(eye(3, k=1, format='csr') + eye(3, k=-1, format='csr'))\n"
        "graph.decoding\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "beta state" not in done.stderr
