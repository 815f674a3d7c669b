"""Matching of partitions and their consensus, by hand."""

import numpy as np
import pandas as pd
import pytest

from histoquilt.cluster import ensemble_probability
from histoquilt.tl import align_labels, ensemble_confidence


def test_renamed_clusters_get_the_names_back():
    reference = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    assert align_labels(np.array([2, 0, 1])[reference], reference).tolist() == reference.tolist()
    assert align_labels(np.array(["z", "x", "y"])[reference], reference).tolist() == reference.tolist()


def test_the_matching_is_one_to_one_and_the_best():
    """Both clusters overlap name 0 most (3 and 2 spots); 3 + 1 is more than 1 + 2."""
    labels = [0, 0, 0, 0, 1, 1, 1]
    reference = [0, 0, 0, 1, 0, 0, 1]
    assert align_labels(labels, reference).tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_greedy_matching_would_lose_spots():
    """Overlaps are 5, 4 | 4, 0: the greedy 5 + 0 keeps fewer spots than 4 + 4."""
    labels = np.repeat([0, 0, 1], [5, 4, 4])
    reference = np.repeat([0, 1, 0], [5, 4, 4])
    assert align_labels(labels, reference).tolist() == [1] * 9 + [0] * 4


def test_clusters_left_over_get_new_names():
    assert align_labels([0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 1, 1]).tolist() == [0, 0, 0, 2, 1, 1]
    assert align_labels([0, 0, 0, 0], [0, 0, 0, 1]).tolist() == [0, 0, 0, 0]


def test_missing_labels_do_not_count_and_stay_missing():
    labels = ["b", None, "a", "a"]
    reference = ["x", "y", np.nan, "y"]
    assert align_labels(labels, reference).tolist() == [0, -1, 1, 1]
    assert align_labels([None, np.nan], ["x", "y"]).tolist() == [-1, -1]


def test_categories_keep_their_order():
    reference = pd.Categorical(["2", "2", "10"], categories=["2", "10"])
    given = pd.Series(pd.Categorical(["b", "b", "a"], categories=["unused", "a", "b"]), index=["s1", "s2", "s3"])
    assert align_labels(given, reference).tolist() == [0, 0, 1]


def test_consensus_by_hand():
    """Five spots, four runs under different names; spots 2 and 4 are each moved by one run."""
    runs = [[0, 0, 0, 1, 1], [4, 4, 4, 2, 2], [1, 1, 0, 0, 0], ["a", "a", "a", "b", "a"]]
    consensus, confidence = ensemble_confidence(runs)
    assert consensus.tolist() == [0, 0, 0, 1, 1]
    assert confidence.tolist() == [1, 1, 0.75, 1, 0.75]


def test_one_run_is_sure_of_itself():
    consensus, confidence = ensemble_confidence([["b", "a", "b"]])
    assert consensus.tolist() == [1, 0, 1]
    assert confidence.tolist() == [1, 1, 1]


def test_the_consensus_may_be_no_single_run():
    """Each of three runs moves another spot; the vote moves none."""
    true = np.repeat([0, 1], 4)
    runs = [true.copy() for _ in range(3)]
    for number, run in enumerate(runs):
        run[number] = 1
    consensus, confidence = ensemble_confidence(runs)
    assert consensus.tolist() == true.tolist()
    np.testing.assert_allclose(confidence, [2 / 3] * 3 + [1] * 5)


def test_as_many_domains_as_the_runs_have():
    """A vote by itself can lose a domain: the small third one lies elsewhere in every run."""
    runs = np.tile(np.repeat([0, 1], 6), (3, 1))
    runs[0][[0, 6]] = runs[1][[1, 7]] = runs[2][[2, 8]] = 2
    consensus, confidence = ensemble_confidence(runs)
    assert len(np.unique(consensus)) == 3
    assert (confidence >= 1 / 3).all()
    assert (confidence <= 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_names_and_order_of_the_runs_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 5, 200)
    runs = [np.where(rng.random(200) < 0.1, rng.integers(0, 5, 200), true) for _ in range(5)]
    consensus, confidence = ensemble_confidence(runs)
    renamed = [rng.permutation(5)[run] for run in runs]
    other, other_confidence = ensemble_confidence(renamed)
    assert (align_labels(other, consensus) == consensus).mean() > 0.97  # ties may fall otherwise
    assert np.abs(confidence - other_confidence).mean() < 0.02
    assert (align_labels(consensus, true) == true).mean() > 0.95
    moved = np.mean([run != true for run in runs], axis=0)  # share of runs that moved a spot
    assert np.corrcoef(confidence, -moved)[0, 1] > 0.9


def test_probability_of_the_domain_given_by_hand():
    """Two mixtures; the second one's columns are the other way round, and spot 3 was moved to domain 0."""
    codes = np.array([0, 0, 1, 0])
    one = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    other = np.array([[0.1, 0.9], [0.4, 0.6], [1.0, 0.0], [0.6, 0.4]])
    assert ensemble_probability(codes, [one]).tolist() == [0.9, 0.8, 0.7, 0.4]
    np.testing.assert_allclose(ensemble_probability(codes, [one, other]), [0.9, 0.7, 0.85, 0.4])


def test_columns_are_matched_one_to_one():
    """Both domains put most weight on the first column; only one of them can have it."""
    codes = np.array([0, 0, 0, 1])
    one = np.array([[0.9, 0.1]] * 3 + [[0.6, 0.4]])
    assert ensemble_probability(codes, [one]).tolist() == [0.9, 0.9, 0.9, 0.4]


def test_bad_input():
    with pytest.raises(ValueError, match="labels has 2 spots and reference 3"):
        align_labels([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="There is no run to agree on"):
        ensemble_confidence([])
    with pytest.raises(ValueError, match="must label the same spots; their lengths are 2, 3"):
        ensemble_confidence([[0, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match="Some spots have no label in one of the runs"):
        ensemble_confidence([[0, 1], ["a", None]])
