"""The number of domains: found where it is known, refused where there is none, and the same whatever the order."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from histoquilt.tl import choose_n_domains
from histoquilt.tl._choose import _adjusted_rand, _compare, _weakest


def groups(k: int, *, each: int = 60, apart: float = 7.0, seed: int = 0) -> np.ndarray:
    """``k`` round clusters in five dimensions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, 5))
    while True:  # draw until all are apart
        distances = np.linalg.norm(centres[:, None] - centres, axis=2)[~np.eye(k, dtype=bool)]
        if distances.min() > apart:
            break
        centres = rng.uniform(-2 * apart, 2 * apart, size=(k, 5))
    return np.repeat(centres, each, axis=0) + rng.normal(size=(k * each, 5))


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_finds_the_number_that_is_there(embedded, k):
    adata = embedded(groups(k))
    assert choose_n_domains(adata, n_domains=(2, 9)) == k
    curve = adata.uns["histoquilt"]["n_domains_curve"]
    assert list(curve.columns) == ["n_domains", "stability", "sd", "weakest", "weakest_sd", "stable"]
    assert curve["n_domains"].tolist() == list(range(2, 10))
    at = curve.set_index("n_domains")
    assert at.loc[k, "stability"] > 0.98
    assert not at.loc[k + 1 :, "stable"].any()


def test_unequal_domains_with_a_slanted_covariance(embedded, shared_covariance):
    points, _ = shared_covariance()
    assert choose_n_domains(embedded(points), n_domains=(2, 8), n_components=3) == 4


def test_the_answer_does_not_depend_on_the_range(embedded):
    adata = embedded(groups(5))
    assert choose_n_domains(adata, n_domains=(4, 7)) == choose_n_domains(adata, n_domains=(2, 9)) == 5


def test_noise_has_no_stable_number(embedded):
    adata = embedded(np.random.default_rng(0).normal(size=(400, 5)))
    with pytest.warns(UserWarning, match=r"No number of domains from 2 to 6 is stable .*weak choice"):
        chosen = choose_n_domains(adata, n_domains=(2, 6))
    curve = adata.uns["histoquilt"]["n_domains_curve"]
    assert not curve["stable"].any()
    assert chosen == curve.loc[curve["weakest"].idxmax(), "n_domains"]


def test_several_embeddings_are_compared_with_each_other(embedded):
    """Two seeds agree on three domains and cut one of them differently: neither cut is stable."""
    rng = np.random.default_rng(0)
    adata = embedded(groups(3, each=100, apart=30))
    side = [np.zeros(300), np.zeros(300)]
    for cut in side:
        cut[:100] = np.where(rng.random(100) < 0.5, 4, -4)
    for seed, cut in enumerate(side):
        adata.obsm[f"X_{seed}"] = np.column_stack([adata.obsm["X_domains"], cut + rng.normal(size=300)])
    assert choose_n_domains(adata, use_rep="X_0", n_domains=(2, 6)) == 4
    assert choose_n_domains(adata, use_rep=["X_0", "X_1"], n_domains=(2, 6)) == 3


def test_same_seed_same_curve_and_nothing_else_is_written(embedded):
    adata = embedded(groups(4))
    before = adata.copy()
    choose_n_domains(adata, n_domains=(2, 6), key_added="a", seed=3)
    choose_n_domains(adata, n_domains=(2, 6), key_added="b", seed=3)
    choose_n_domains(adata, n_domains=(2, 6), key_added="c", seed=4)
    curves = adata.uns["histoquilt"]
    assert curves["a"].equals(curves["b"])
    assert not curves["a"].equals(curves["c"])
    assert adata.obs.equals(before.obs)
    assert list(adata.obsm) == ["X_domains"]
    assert (adata.obsm["X_domains"] == before.obsm["X_domains"]).all()


def test_a_missing_domain_is_no_agreement(embedded):
    """Three distinct rows hold no fourth domain, however well all fits agree on three."""
    adata = embedded(np.repeat(np.eye(3), 40, axis=0))
    assert choose_n_domains(adata, n_domains=(2, 5)) == 3
    curve = adata.uns["histoquilt"]["n_domains_curve"].set_index("n_domains")
    assert curve.loc[[4, 5], "stability"].tolist() == [0, 0]


def test_agreement_is_the_adjusted_rand_index_on_shared_spots():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (3, 50))
    labels[1] = np.where(rng.random(50) < 0.7, labels[0], labels[1])
    labels[0, :10] = labels[1, 40:] = -1
    expected = [
        adjusted_rand_score(first[(first >= 0) & (second >= 0)], second[(first >= 0) & (second >= 0)])
        for first, second in [(labels[0], labels[1]), (labels[0], labels[2]), (labels[1], labels[2])]
    ]
    # the third run saw all spots, so for its sake one more spot is unseen
    labels[2, 0] = -1
    expected[2] = adjusted_rand_score(labels[1, 1:40], labels[2, 1:40])
    np.testing.assert_allclose(_compare(labels, 3, 1)[0], expected, atol=1e-12)
    assert _adjusted_rand(np.array([[4, 0], [0, 4]])) == 1
    assert _adjusted_rand(np.array([[1, 1], [1, 1]])) == pytest.approx(-0.5)


def test_the_weakest_domain_by_hand():
    """Rows: 3 + 1 of 4 spots together, 3 of 6 pairs; 3 of 3. Columns: 3 of 3 pairs; 3 of 6."""
    assert _weakest(np.array([[4, 0], [0, 4]])) == 1
    assert _weakest(np.array([[3, 1], [0, 3]])) == pytest.approx((3 / 6 + 3 / 6) / 2)
    assert _weakest(np.array([[5, 0], [0, 1]])) == 0  # a single spot has no pair to keep


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_domains": 7}, r"smallest and the largest number to try, e\.g\. \(2, 15\), got 7"),
        ({"n_domains": (1, 4)}, r"got \(1, 4\)"),
        ({"n_domains": (6, 4)}, r"got \(6, 4\)"),
        ({"n_domains": (2, 4.5)}, r"got \(2, 4\.5\)"),
        ({"n_domains": (2, 100)}, r"A sub-sample of 144 spots is too small for up to 100 domains.*Search up to 48"),
        ({"share": 1.0}, r"share must be at least 0\.5 and less than 1, got 1\.0"),
        ({"n_subsamples": 2}, "n_subsamples must be at least 3"),
        ({"use_rep": []}, "use_rep names no embedding"),
    ],
)
def test_bad_values(embedded, kwargs, message):
    with pytest.raises(ValueError, match=message):
        choose_n_domains(embedded(groups(3)), **kwargs)


def test_bad_embeddings(embedded):
    adata = embedded(groups(3))
    with pytest.raises(KeyError, match=r"'X_no' is not in adata\.obsm .*use_rep="):
        choose_n_domains(adata, use_rep=["X_domains", "X_no"])
    adata.obsm["X_domains"][0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        choose_n_domains(adata)
