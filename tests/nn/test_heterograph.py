import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, random

from histoquilt.nn import (
    CrossNodeAttention,
    CrossNodeReadout,
    HeteroGraph,
    HeteroLayer,
    InputBlock,
    SAGELayer,
    mean_propagation,
)

N_TARGETS, N_REFERENCES, N_HIDDEN = 7, 5, 8


def random_edges(n_out: int, n_in: int, seed: int) -> csr_matrix:
    return csr_matrix(random(n_out, n_in, density=0.4, random_state=seed))


TO_TARGET = random_edges(N_TARGETS, N_REFERENCES, 2)
TO_TARGET = csr_matrix(TO_TARGET.toarray() * (np.arange(N_TARGETS)[:, None] != 3))  # target 3 has no reference
MATRICES = random_edges(N_TARGETS, N_TARGETS, 0), random_edges(N_REFERENCES, N_REFERENCES, 1), TO_TARGET


def graph(drop: int | None = None) -> HeteroGraph:
    return HeteroGraph.from_scipy(*(csr_matrix(m.shape) if i == drop else m for i, m in enumerate(MATRICES)))


def build(module: type, *arguments: object, **keywords: object) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return module(*arguments, **keywords)


def states(seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, N_HIDDEN, generator=generator) for n in (N_TARGETS, N_REFERENCES, N_REFERENCES))


def test_mean_by_hand():
    averaging = mean_propagation(csr_matrix(np.array([[0, 5.0, 2.0], [0, 0, 0], [1.0, 0, 0]])))
    x = torch.tensor([[1.0], [2.0], [6.0]])
    torch.testing.assert_close(averaging(x), torch.tensor([[4.0], [0.0], [1.0]]))


def test_sage_gradients_on_a_directed_graph():
    averaging = mean_propagation(MATRICES[0])
    layer = build(SAGELayer, 3, 2)
    x = states()[0][:, :3].requires_grad_()
    dense = averaging.matrix.to_dense()
    full = x @ layer.own.weight.T + layer.own.bias + dense @ x @ layer.neighbours.weight.T
    ours = layer(x, averaging)
    torch.testing.assert_close(ours, full)
    weigh = torch.arange(14.0).view(7, 2)
    torch.testing.assert_close(*(torch.autograd.grad((result * weigh).sum(), x)[0] for result in (ours, full)))


@pytest.mark.parametrize("drop", [0, 1, 2])
def test_every_kind_of_edge_counts(drop):
    layer = build(HeteroLayer, N_HIDDEN, n_heads=2).eval()
    whole, without = (layer(*states(), g, None) for g in (graph(), graph(drop)))
    changed = [not torch.allclose(a, b) for a, b in zip(whole, without, strict=True)]
    assert changed == [drop != 1, drop != 0]


def test_references_tell_their_expression_to_their_targets_and_to_nobody_else():
    layer = build(HeteroLayer, N_HIDDEN, n_heads=2).eval()
    target, reference, expression = states()
    changed_expression = expression.clone()
    changed_expression[1] = -expression[1]
    before, after = (layer(target, reference, e, graph(), None)[0] for e in (expression, changed_expression))
    changed = (before != after).any(dim=1).tolist()
    assert changed == (TO_TARGET.toarray()[:, 1] != 0).tolist()


def test_a_target_without_references_hears_nothing():
    attention = build(CrossNodeAttention, N_HIDDEN, n_heads=2).eval()
    readout = build(CrossNodeReadout, N_HIDDEN, n_heads=2).eval()
    target, reference, expression = states()
    edges = graph().to_target
    to_target, to_reference = attention(target, reference, expression, edges, None)
    assert to_target.shape == (N_TARGETS, N_HIDDEN)
    assert to_reference.shape == (N_REFERENCES, N_HIDDEN)
    assert (to_target[3] == 0).all()
    assert (to_target[[0, 1]] != 0).any()
    alone = readout.own(target[3:4])[0]
    torch.testing.assert_close(readout(target, reference, expression, edges, None)[3], alone)


def test_order_of_references_does_not_matter():
    layer = build(HeteroLayer, N_HIDDEN, n_heads=2).eval()
    target, reference, expression = states()
    order = np.random.default_rng(0).permutation(N_REFERENCES)
    among_targets, among_references, to_target = MATRICES
    turned = HeteroGraph.from_scipy(among_targets, among_references[order][:, order], to_target[:, order])
    first = layer(target, reference, expression, graph(), None)
    second = layer(target, reference[order], expression[order], turned, None)
    torch.testing.assert_close(second[0], first[0])
    torch.testing.assert_close(second[1], first[1][order])


def test_every_parameter_learns(generator):
    block, layer = build(InputBlock, 6, N_HIDDEN), build(HeteroLayer, N_HIDDEN, n_heads=2)
    readout = build(CrossNodeReadout, N_HIDDEN, n_heads=2)
    x = torch.randn(N_TARGETS, 6, generator=generator)
    _, reference, expression = states()
    target, reference = layer(block(x, generator), reference, expression, graph(), generator)
    readout(target, reference, expression, graph().to_target, generator).square().sum().backward()
    for module in (block, layer, readout):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert (parameter.grad != 0).any(), name


def test_same_seed_same_states():
    layer = build(HeteroLayer, N_HIDDEN, n_heads=2)
    runs = [layer(*states(), graph(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])


def test_half_precision_comes_close():
    layer = build(HeteroLayer, N_HIDDEN, n_heads=2).eval()
    gradients, results = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            target, reference = layer(*states(), graph(), None)
            loss = target.float().square().sum() + reference.float().square().sum()
        layer.zero_grad()
        loss.backward()
        results.append(target.detach().float())
        gradients.append(layer.between.to_target.query.weight.grad.clone())
    assert (results[0] - results[1]).norm() < 0.02 * results[0].norm()
    assert (gradients[0] - gradients[1]).norm() < 0.1 * gradients[0].norm()


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"among targets have shape \(5, 5\).*7 x 5 edges.*ask for \(7, 7\)"):
        HeteroGraph.from_scipy(MATRICES[1], MATRICES[1], TO_TARGET)
    with pytest.raises(ValueError, match="among references have shape"):
        HeteroGraph.from_scipy(MATRICES[0], MATRICES[0], TO_TARGET)
    with pytest.raises(ValueError, match="n_hidden is 10, which 4 heads cannot share"):
        CrossNodeAttention(10)
