import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, random_array

from histoquilt.nn import Edges, MultiHeadEdgeAttention, edge_attention, edge_softmax


def adjacency(n_out: int, n_in: int, seed: int = 0) -> csr_matrix:
    """Random and directed; the second node receives nothing, and the last sends nothing."""
    matrix = random_array((n_out, n_in), density=0.5, rng=np.random.default_rng(seed)).toarray()
    matrix[1], matrix[:, -1] = 0, 0
    return csr_matrix(matrix)


GRAPHS = pytest.mark.parametrize("matrix", [adjacency(5, 7), adjacency(7, 4), adjacency(6, 6)], ids=str)


def randn(*shape: int, seed: int = 0, grad: bool = True) -> torch.Tensor:
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn.requires_grad_(grad)


def dense_attention(queries, keys, values, matrix, slope):
    """The formula on a full matrix; rows without edges are zero."""
    logits = queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5
    logits = logits if slope is None else torch.nn.functional.leaky_relu(logits, slope)
    weights = logits.masked_fill(torch.from_numpy(matrix.toarray() == 0), -torch.inf).softmax(dim=2).nan_to_num(0)
    return (weights @ values).transpose(0, 1).flatten(1)


@GRAPHS
def test_gradients_of_the_two_products_and_the_softmax(matrix):
    edges = Edges(matrix)
    weights, values = randn(2, edges.n_edges), randn(2, edges.n_in, 3, seed=1)
    left = randn(2, edges.n_out, 3, seed=2)
    assert torch.autograd.gradcheck(edges.gather_sum, (weights, values))
    assert torch.autograd.gradcheck(edges.dot, (left, values))
    assert torch.autograd.gradcheck(lambda x: edge_softmax(x, edges), (weights,))


@GRAPHS
@pytest.mark.parametrize("slope", [None, 0.2])
def test_attention_and_its_gradients_are_those_of_the_full_matrix(matrix, slope):
    edges = Edges(matrix)
    parts = randn(3, edges.n_out, 4), randn(3, edges.n_in, 4, seed=1), randn(3, edges.n_in, 2, seed=2)
    ours = edge_attention(*parts, edges, slope=slope)
    full = dense_attention(*parts, matrix, slope)
    torch.testing.assert_close(ours, full)
    assert (ours[1] == 0).all()
    weigh = randn(*ours.shape, seed=3, grad=False)
    gradients = [torch.autograd.grad((result * weigh).sum(), parts) for result in (ours, full)]
    for ours_of, full_of in zip(*gradients, strict=True):
        torch.testing.assert_close(ours_of, full_of.nan_to_num(0))


def test_softmax_by_hand_and_without_overflow():
    edges = Edges(csr_matrix([[1, 1, 0], [0, 0, 0], [0, 1, 1]]))
    logits = torch.tensor([[0.0, float(np.log(3)), 1000.0, 0.0], [5.0, 5.0, -1000.0, -1000.0]])
    expected = torch.tensor([[0.25, 0.75, 1.0, 0.0], [0.5, 0.5, 0.5, 0.5]])
    torch.testing.assert_close(edge_softmax(logits, edges), expected)


def test_edges_are_those_of_the_matrix_and_of_its_transpose():
    matrix = adjacency(5, 7)
    edges = Edges(matrix)
    for ours, theirs in ((edges, matrix), (edges.reversed, matrix.T.tocsr())):
        assert (ours.n_out, ours.n_in) == theirs.shape
        rows, columns = theirs.nonzero()
        order = np.lexsort((columns, rows))
        assert ours.rows.tolist() == rows[order].tolist()
        assert ours.columns.tolist() == columns[order].tolist()
        assert ours.degree.tolist() == np.bincount(rows, minlength=ours.n_out).tolist()
    assert edges.reversed.reversed is edges


def test_an_unsorted_matrix_is_read_right_and_left_alone():
    matrix = csr_matrix((np.ones(4), np.array([2, 0, 1, 1]), np.array([0, 2, 4])), shape=(2, 3))
    edges = Edges(matrix)
    assert edges.columns.tolist() == [0, 2, 1]
    assert matrix.indices.tolist() == [2, 0, 1, 1]


def test_no_edges_at_all_give_zeros_and_gradients():
    edges = Edges(csr_matrix((3, 2)))
    parts = randn(2, 3, 4), randn(2, 2, 4), randn(2, 2, 4)
    result = edge_attention(*parts, edges)
    assert result.shape == (3, 8)
    assert (result == 0).all()
    for gradient in torch.autograd.grad(result.sum(), parts):
        assert (gradient == 0).all()


def test_a_module_is_silent_about_nodes_without_edges_and_drops_only_in_training(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attention = MultiHeadEdgeAttention(6, 5, 3, n_heads=2, n_head=4, slope=0.2, dropout_rate=0.4)
    edges = Edges(adjacency(5, 7))
    receivers, senders = torch.randn(5, 6, generator=generator), torch.randn(7, 5, generator=generator)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    first, same, other = (attention(receivers, senders, edges, seed) for seed in seeds)
    assert (first[1] == 0).all()
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    quiet = attention.eval()(receivers, senders, edges, None)
    torch.testing.assert_close(quiet, attention(receivers, senders, edges, generator))
    with pytest.raises(ValueError, match="pass generator="):
        attention.train()(receivers, senders, edges, None)


def test_dense_input_is_refused():
    with pytest.raises(TypeError, match="scipy sparse matrix, got ndarray"):
        Edges(np.eye(3))
