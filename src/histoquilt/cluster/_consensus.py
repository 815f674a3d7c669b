"""Several partitions of the same spots: matched names, and a consensus with its confidence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment


def align_labels(labels: Any, reference: Any) -> np.ndarray:
    """Give clusters the names of the reference that they overlap most, one to one.

    The matching maximises the overlap (Hungarian algorithm). Clusters in excess of the names get the next whole
    numbers after the largest code of the reference.

    Parameters
    ----------
    labels, reference
        ``(n_spots,)``, any labels; missing ones are unlabelled.

    Returns
    -------
    ``(n_spots,)`` int: codes of the reference (order of its sorted labels, or of its categories), -1 for unlabelled.

    Raises
    ------
    ValueError
        The two have different numbers of spots.

    Examples
    --------
    >>> align_labels(["b", "b", "a", "a", "c"], [0, 0, 1, 1, 1]).tolist()
    [0, 0, 1, 1, 2]
    """
    given, target = _without_gaps(_codes(labels)), _codes(reference)
    if len(given) != len(target):
        raise ValueError(
            f"labels has {len(given):,} spots and reference {len(target):,}. Both must describe the same spots, in the "
            "same order."
        )
    n_given, n_target = given.max(initial=-1) + 1, target.max(initial=-1) + 1
    overlap = np.zeros((n_given, n_target), int)
    both = (given >= 0) & (target >= 0)
    np.add.at(overlap, (given[both], target[both]), 1)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    renamed = np.full(n_given, -1)
    renamed[rows] = columns
    left_over = renamed < 0
    renamed[left_over] = n_target + np.arange(left_over.sum())
    return np.where(given >= 0, renamed[np.maximum(given, 0)], -1) if n_given else given


def ensemble_confidence(runs: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the consensus of several partitions, and the share of them that agrees with it at every spot.

    All runs are matched to the leader, which agrees best with the others; every spot takes its most frequent name (of
    ties the leader's, else the smallest); the runs are matched to that consensus and vote once more. If a name would be
    lost, the leader's partition is the consensus, so that runs of k domains give k domains.

    Parameters
    ----------
    runs
        Labels of the same spots, ``(n_spots,)`` each, without missing ones.

    Returns
    -------
    consensus
        ``(n_spots,)`` int, 0 to k-1: codes of the leading run.
    confidence
        ``(n_spots,)`` float, 0 to 1: share of the runs that give a spot its consensus name.

    Raises
    ------
    ValueError
        There is no run, runs differ in length, or a spot has no label.

    Examples
    --------
    >>> consensus, confidence = ensemble_confidence([[0, 0, 1, 1], [5, 5, 3, 3], [1, 1, 1, 0]])
    >>> consensus.tolist(), confidence.round(2).tolist()
    ([0, 0, 1, 1], [1.0, 1.0, 0.67, 1.0])
    """
    if len(runs) == 0:
        raise ValueError("There is no run to agree on. Pass a list of label arrays, one a run.")
    coded = [_without_gaps(_codes(run)) for run in runs]
    if len({len(run) for run in coded}) > 1:
        lengths = ", ".join(f"{len(run):,}" for run in coded)
        raise ValueError(f"All runs must label the same spots; their lengths are {lengths}.")
    if any((run < 0).any() for run in coded):
        raise ValueError("Some spots have no label in one of the runs. Leave these spots out of all runs first.")
    leader = coded[_leader(coded)]
    consensus = leader
    for _ in range(2):
        aligned = np.stack([align_labels(run, consensus) for run in coded])  # (n_runs, n_spots)
        voted = _majority(aligned, leader)
        if len(np.unique(voted)) < leader.max() + 1 or voted.max() > leader.max():
            voted = leader
        consensus = voted
    aligned = np.stack([align_labels(run, consensus) for run in coded])
    return consensus, (aligned == consensus).mean(axis=0)


def ensemble_probability(codes: np.ndarray, probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean probability of each spot's domain, ``(n_spots,)``, in several mixtures.

    ``codes`` ``(n_spots,)`` are the domains, 0 to k-1, to which the columns of the posteriors ``(n_spots, k)`` are
    matched one to one.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import ensemble_probability
    >>> first = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> second = np.array([[0.3, 0.7], [1.0, 0.0]])  # its columns are exchanged
    >>> ensemble_probability(np.array([0, 1]), [first, second]).tolist()
    [0.8, 0.9]
    """
    n_spots = len(codes)
    total = np.zeros(n_spots)
    for one in probabilities:
        overlap = np.stack([one[codes == code].sum(axis=0) for code in range(one.shape[1])])
        of_domain = linear_sum_assignment(overlap, maximize=True)[1]
        total += one[np.arange(n_spots), of_domain[codes]]
    return total / len(probabilities)


def _codes(labels: Any) -> np.ndarray:
    """Return codes of labels ``(n_spots,)`` in the order of their categories, or sorted; -1 if missing."""
    return pd.Series(labels).astype("category").cat.codes.to_numpy(dtype=int)


def _without_gaps(codes: np.ndarray) -> np.ndarray:
    """Return codes 0 to k-1 in the same order, without empty categories; -1 is kept."""
    kept = np.unique(codes[codes >= 0])
    return np.where(codes >= 0, np.searchsorted(kept, codes), -1)


def _leader(coded: list[np.ndarray]) -> int:
    """Return the number of the run that agrees best with the others."""
    agreeing = np.zeros(len(coded))
    for first in range(len(coded)):
        for second in range(first + 1, len(coded)):
            same = (align_labels(coded[second], coded[first]) == coded[first]).sum()
            agreeing[[first, second]] += same
    return int(agreeing.argmax())


def _majority(aligned: np.ndarray, leader: np.ndarray) -> np.ndarray:
    """Return the most frequent name of each spot; of ties the leader's, else the smallest."""
    votes = np.stack([(aligned == name).sum(axis=0) for name in range(aligned.max() + 1)])  # (n_names, n_spots)
    favoured = votes[leader, np.arange(len(leader))] == votes.max(axis=0)
    return np.where(favoured, leader, votes.argmax(axis=0))
