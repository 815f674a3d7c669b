"""A Potts field on planted maps: what it repairs, its beta, and what it must not change."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix

from histoquilt.cluster import _potts, potts_labels
from histoquilt.gr import knn_adjacency
from histoquilt.tl._refine import majority_codes

SIDE = 40


def lattice(side=SIDE):
    rows, columns = np.divmod(np.arange(side * side), side)
    graph = knn_adjacency(np.column_stack([columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2]), 6)
    graph.data[:] = 1
    return graph


def planted(smoothness, n_domains=3, noise=1.0, seed=0):
    """Domains of equal size, patches of about ``smoothness`` spots, and an embedding with a mean each."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(SIDE, SIDE)), smoothness).ravel()
    truth = np.digitize(field, np.quantile(field, np.arange(1, n_domains) / n_domains))
    embedding = 2 * np.eye(n_domains)[truth] + noise * rng.normal(size=(len(truth), n_domains))
    nearest = ((embedding[:, None] - 2 * np.eye(n_domains)) ** 2).sum(axis=2).argmin(axis=1)
    return truth, embedding, nearest


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.8, 1.0])
def test_it_repairs_more_than_a_vote_of_the_majority(noise, seed):
    truth, embedding, noisy = planted(5, noise=noise, seed=seed)
    voted = majority_codes(noisy, lattice(), 3)
    field = potts_labels(embedding, noisy, lattice(), 3)
    errors, of_votes, of_field = ((labels != truth).sum() for labels in (noisy, voted, field.labels))
    assert of_field < 0.8 * of_votes < 0.8 * errors


def test_beta_grows_with_smoothness():
    betas = []
    for smoothness in (0.0, 1.0, 2.0, 5.0):
        _, embedding, noisy = planted(smoothness, noise=0.3)
        betas.append(potts_labels(embedding, noisy, lattice(), 3).beta)
    assert betas[0] < 0.1
    assert (np.diff(betas) > 0.05).all()


def test_beta_is_that_of_the_pseudo_likelihood():
    """Clear expression, so that the map is the labels: beta against a search over a grid."""
    truth, embedding, _ = planted(1.0, noise=0.01)
    field = potts_labels(embedding, truth, lattice(), 3)
    assert (field.labels == truth).all()
    votes = lattice() @ np.eye(3)[truth]
    betas = np.linspace(0, 3, 3001)
    likelihood = [
        b * votes[np.arange(len(truth)), truth].sum() - np.log(np.exp(b * votes).sum(axis=1)).sum() for b in betas
    ]
    assert field.beta == pytest.approx(betas[np.argmax(likelihood)], abs=2e-3)


def test_independent_spots_keep_their_domains():
    truth, embedding, nearest = planted(0.0, noise=0.7)
    field = potts_labels(embedding, nearest, lattice(), 3)
    assert (field.labels != truth).sum() <= 1.05 * (nearest != truth).sum()


def test_isolated_and_unlabelled_spots_keep_what_they_have():
    truth, embedding, _ = planted(5, noise=0.5)
    labels = truth.copy()
    alone, unlabelled = np.arange(0, 400, 40), np.arange(5, 405, 40)
    labels[alone] = (labels[alone] + 1) % 3  # against their own expression
    labels[unlabelled] = -1
    connected = np.ones(len(labels))
    connected[alone] = 0
    keep = csr_matrix((connected, (range(len(labels)),) * 2))
    graph = csr_matrix(keep @ lattice() @ keep)
    graph.eliminate_zeros()
    field = potts_labels(embedding, labels, graph, 3)
    assert (field.labels[alone] == labels[alone]).all()
    assert (field.labels[unlabelled] == -1).all()
    others = np.setdiff1d(np.arange(len(labels)), np.r_[alone, unlabelled])
    assert (field.labels[others] >= 0).all()
    empty = potts_labels(embedding, labels, csr_matrix(graph.shape), 3)
    assert empty.beta == 0
    assert (empty.labels == labels).all()


def test_all_domains_stay():
    """One spot of a domain whose expression is that of its surroundings."""
    truth, embedding, _ = planted(5, n_domains=2, noise=1.0)
    labels = truth.copy()
    labels[820] = 2
    field = potts_labels(embedding, labels, lattice(), 3)
    assert set(field.labels) == {0, 1, 2}


def test_names_and_order_of_domains_do_not_matter():
    _, embedding, noisy = planted(3)
    swapped = np.array([2, 0, 1])
    one = potts_labels(embedding, noisy, lattice(), 3)
    other = potts_labels(embedding, swapped[noisy], lattice(), 3)
    assert (swapped[one.labels] == other.labels).mean() > 0.999
    assert one.beta == pytest.approx(other.beta, abs=1e-3)


def test_the_same_in_chunks_and_each_time(monkeypatch):
    _, embedding, noisy = planted(3)
    whole = potts_labels(embedding, noisy, lattice(), 3)
    assert (potts_labels(embedding, noisy, lattice(), 3).labels == whole.labels).all()
    monkeypatch.setattr(_potts, "_CHUNK", 97)
    parts = potts_labels(embedding, noisy, lattice(), 3)
    assert (parts.labels == whole.labels).all()
    assert parts.beta == pytest.approx(whole.beta, abs=1e-5)
