import pytest
import torch

from histoquilt.nn.graph import _edge_scorer
from histoquilt.nn.graph._edge_scorer import EdgeScorer, _drop

N_SPOTS, N_LATENT = 40, 8


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.randint(N_SPOTS, (2, 60, 2), generator=torch.Generator().manual_seed(1))
    return drawn[0], drawn[1][:50]


def build(dropout: float) -> tuple[EdgeScorer, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EdgeScorer(N_LATENT, dropout), torch.randn(N_SPOTS, N_LATENT, requires_grad=True)


def plain_loss(scorer, z, positive, negative, kept=None) -> torch.Tensor:
    """The formula, left to autograd. kept: (n_pairs, 2 * n_latent) bool, the units that dropout spares."""
    both = torch.cat([positive, negative])
    hidden = torch.relu(scorer[0](z[both[:, 0]] * z[both[:, 1]]))
    if kept is not None:
        hidden = hidden * kept / (1 - scorer.dropout)
    logits = scorer[1](hidden).squeeze(1)
    is_edge = torch.arange(len(logits)) < len(positive)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, is_edge.to(logits.dtype))


def gradients(loss, scorer, z) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [z, *scorer.parameters()]))


@pytest.mark.parametrize("units", [16 * 7, 2**20], ids=["chunks", "one piece"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradients_are_those_of_the_formula(pairs, units, dropout, monkeypatch):
    monkeypatch.setattr(_edge_scorer, "UNITS_AT_ONCE", units)
    scorer, z = build(dropout)
    kept = torch.rand(110, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) < 1 - dropout
    ours = 3 * scorer.loss(z, *pairs, torch.Generator().manual_seed(5))
    plain = 3 * plain_loss(scorer, z, *pairs, kept)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(gradients(ours, scorer, z), gradients(plain, scorer, z), rtol=1e-4, atol=1e-6)


def test_half_precision_comes_close(pairs):
    scorer, z = build(0.0)
    low = scorer.loss(z, *pairs, torch.Generator(), dtype=torch.bfloat16)
    plain = plain_loss(scorer, z, *pairs)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, plain, rtol=5e-3, atol=0)
    for ours, theirs in zip(gradients(low, scorer, z), gradients(plain, scorer, z), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.06 * theirs.norm()  # units close to zero change sides


def test_no_dropout_in_eval_mode(pairs):
    scorer, z = build(0.5)
    torch.testing.assert_close(scorer.eval().loss(z, *pairs, torch.Generator()), plain_loss(scorer, z, *pairs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_everywhere_and_changes_nothing_else(dtype, dropout, generator):
    values = torch.rand(401, 101).add_(1).to(dtype)  # an odd number of units
    dropped = values.clone()
    _drop(dropped, dropout, generator)
    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(1 - dropout, abs=0.01)
    assert (kept.float().mean(dim=0) - (1 - dropout)).abs().max() < 0.12  # 5 standard deviations of a column
    assert torch.equal(dropped[kept], values[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_seed_fixes_the_result_on_any_number_of_threads(pairs, dtype):
    scorer, z = build(0.5)
    threads = torch.get_num_threads()
    results = []
    for n_threads in (1, 2, 2):
        torch.set_num_threads(n_threads)
        torch.manual_seed(n_threads)  # the global state must not matter
        results.append(gradients(scorer.loss(z, *pairs, torch.Generator().manual_seed(2), dtype=dtype), scorer, z))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    other_seed = scorer.loss(z, *pairs, torch.Generator().manual_seed(3), dtype=dtype)
    assert not torch.equal(results[0][0], gradients(other_seed, scorer, z)[0])
