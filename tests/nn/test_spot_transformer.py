"""The spot branch of mclSTExp: transformer, coordinates, projection head."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, eye

from histoquilt.nn import CoordinateEncoding, Edges, ProjectionHead, SpotTransformer

LINE = csr_matrix(eye(9) + eye(9, k=1) + eye(9, k=-1))  # nine spots in a row


def build(module: type, *arguments: object, **keywords: object) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return module(*arguments, **keywords)


def test_a_spot_sees_as_far_as_there_are_blocks_and_no_farther(generator):
    transformer = build(SpotTransformer, 6, n_blocks=2, n_heads=2, n_head=4).eval()
    x = torch.randn(9, 6, generator=generator)
    changed = x.clone()
    changed[0, 0] += 1
    before, after = (transformer(values, Edges(LINE), None) for values in (x, changed))
    assert ((before - after).abs().amax(dim=1) > 1e-6).tolist() == [True] * 3 + [False] * 6


def test_batch_mates_change_nothing(generator):
    transformer = build(SpotTransformer, 6, 5, n_heads=2, n_head=4).eval()
    x = torch.randn(18, 6, generator=generator)
    two = csr_matrix(np.kron(np.eye(2), LINE.toarray()))  # two sections in one call
    torch.testing.assert_close(transformer(x, Edges(two), None)[:9], transformer(x[:9], Edges(LINE), None))


def test_all_parameters_learn_and_the_seed_decides():
    transformer = build(SpotTransformer, 6, 5, n_heads=2, n_head=4, dropout_rate=0.2)
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    first, same, other = (transformer(x, Edges(LINE), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    (first * torch.arange(6.0)).sum().backward()
    for name, parameter in transformer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("key.bias"):  # added to all logits of a node alike, it cancels in the softmax
            assert (parameter.grad != 0).any(), name


def test_published_size():
    transformer = build(SpotTransformer, 785)
    assert len(transformer.blocks) == 2
    assert transformer.blocks[0].attention.query.weight.shape == (8 * 64, 785)
    assert transformer.blocks[0].widen.weight.shape == (785, 785)


def test_coordinates_are_defined_everywhere_and_smooth():
    encoding = build(CoordinateEncoding, 16)
    far = torch.tensor([[1e7, -3e6]], dtype=torch.float64)
    assert torch.isfinite(encoding(far, torch.zeros(2))).all()
    centre = torch.tensor([5000.0, 4000.0])
    here, near, away = (encoding(centre + torch.tensor([[d, 0.0]]), centre) for d in (0.0, 10.0, 900.0))
    assert (here - near).norm() < 0.2 * (here - away).norm()


def test_coordinates_count_from_the_centre_of_the_section():
    encoding = build(CoordinateEncoding, 16)
    xy = torch.rand(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 6000
    shift = torch.tensor([3e5, -2e5], dtype=torch.float64)
    torch.testing.assert_close(encoding(xy, xy.mean(0)), encoding(xy + shift, xy.mean(0) + shift))
    swapped = encoding(xy.flip(1), xy.mean(0).flip(0))
    assert not torch.allclose(encoding(xy, xy.mean(0)), swapped, atol=1e-3)  # x and y have codes of their own


def test_features_by_hand():
    encoding = build(CoordinateEncoding, 4, (400.0,))
    with torch.no_grad():
        encoding.linear.weight.copy_(torch.eye(4))
        encoding.linear.bias.zero_()
    code = encoding(torch.tensor([[100.0, 200.0]]), torch.zeros(2))  # a quarter and a half of the wavelength
    torch.testing.assert_close(code, torch.tensor([[1.0, 0.0, 0.0, -1.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("wavelengths", [(), (100.0, 0.0)])
def test_wavelengths_must_be_positive(wavelengths):
    with pytest.raises(ValueError, match="positive numbers of microns"):
        CoordinateEncoding(4, wavelengths)


def test_projection_head_is_the_formula(generator):
    head = build(ProjectionHead, 7, 5)
    x = torch.randn(3, 7, generator=generator)
    first = x @ head.project.weight.T + head.project.bias
    mixed = torch.nn.functional.gelu(first) @ head.mix.weight.T + head.mix.bias
    expected = torch.nn.functional.layer_norm(first + mixed, (5,))
    torch.testing.assert_close(head.eval()(x, None), expected)
    dropped = [head.train()(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[0], dropped[2])
