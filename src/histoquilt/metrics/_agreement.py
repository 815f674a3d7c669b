"""Agreement of predicted domains with an annotation, over the spots that are labelled in both."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics as skm

from histoquilt.metrics._labels import encode_pair


def ari(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return the adjusted Rand index: agreement over pairs of spots, corrected for chance.

    Parameters
    ----------
    labels_true
        Annotation, ``(n_spots,)``: strings, numbers or a pandas categorical. ``NaN``, ``None``, ``pd.NA`` or ``""`` is
        an unlabelled spot.
    labels_pred
        Predicted domains, ``(n_spots,)``, in the same order. Names need not match those of ``labels_true``.

    Returns
    -------
    1 for identical partitions (also of one domain each), around 0 for independent ones, negative if worse than chance.

    Raises
    ------
    ValueError
        The lengths differ, or no spot is labelled on both sides.

    References
    ----------
    Hubert and Arabie, Comparing partitions, Journal of Classification 2, 1985.

    Examples
    --------
    >>> ari(["L1", "L1", "L2", "L2", None], [5, 5, 7, 7, 7])
    1.0
    """
    return float(skm.adjusted_rand_score(*encode_pair(labels_true, labels_pred)))


def nmi(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return the normalised mutual information: mutual information over the mean of the two entropies, in [0, 1].

    Parameters and errors are those of :func:`ari`. It is not corrected for chance, unlike :func:`ami`, and grows with
    the number of domains.

    Examples
    --------
    >>> nmi([1, 1, 2, 2], ["a", "a", "b", "b"])
    1.0
    """
    return float(skm.normalized_mutual_info_score(*encode_pair(labels_true, labels_pred)))


def ami(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return the adjusted mutual information: :func:`nmi` corrected for chance, around 0 for independent partitions.

    Parameters and errors are those of :func:`ari`.

    References
    ----------
    Vinh, Epps and Bailey, Information theoretic measures for clusterings comparison, JMLR 11, 2010.

    Examples
    --------
    >>> round(ami([1, 1, 2, 2], [1, 2, 1, 2]), 3)
    -0.5
    """
    return float(skm.adjusted_mutual_info_score(*encode_pair(labels_true, labels_pred)))


def homogeneity(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return how far each predicted domain lies in a single true one, in [0, 1]; splitting a true domain costs nothing.

    ``1 - H(true | pred) / H(true)``; 1 if the annotation has one domain. Parameters and errors: see :func:`ari`.

    Examples
    --------
    >>> round(homogeneity([1, 1, 2, 2], [1, 2, 3, 4]), 6)
    1.0
    """
    return float(skm.homogeneity_score(*encode_pair(labels_true, labels_pred)))


def completeness(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return how far each true domain lies in a single predicted one, in [0, 1]; merging true domains costs nothing.

    ``1 - H(pred | true) / H(pred)``; 1 if one domain is predicted. Parameters and errors: see :func:`ari`.

    Examples
    --------
    >>> round(completeness([1, 2, 3, 4], [1, 1, 2, 2]), 6)
    1.0
    """
    return float(skm.completeness_score(*encode_pair(labels_true, labels_pred)))


def v_measure(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return the harmonic mean of :func:`homogeneity` and :func:`completeness`; equal to :func:`nmi` by construction.

    Parameters and errors are those of :func:`ari`.

    References
    ----------
    Rosenberg and Hirschberg, V-measure, EMNLP-CoNLL 2007.

    Examples
    --------
    >>> v_measure([1, 1, 2, 2], ["b", "b", "a", "a"])
    1.0
    """
    return float(skm.v_measure_score(*encode_pair(labels_true, labels_pred)))


def fowlkes_mallows(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return the geometric mean of precision and recall over pairs of spots that share a domain, in [0, 1].

    Parameters and errors are those of :func:`ari`. If every spot is a domain of its own on one side, the value is 0.

    References
    ----------
    Fowlkes and Mallows, A method for comparing two hierarchical clusterings, JASA 78, 1983.

    Examples
    --------
    >>> fowlkes_mallows([1, 1, 2, 2], [1, 1, 2, 2])
    1.0
    """
    return float(skm.fowlkes_mallows_score(*encode_pair(labels_true, labels_pred)))


def acc(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Return SpaMask's accuracy score in [0, 1], the mean of :func:`nmi`, :func:`homogeneity` and :func:`completeness`.

    It is not the share of correctly labelled spots. Parameters and errors are those of :func:`ari`.

    References
    ----------
    Min, Fang, Chen and Zhang, SpaMask, PLOS Computational Biology 21(4) e1012881, 2025; after the benchmark of
    Yuan et al., Nature Methods 21, 2024 (SDMBench).

    Examples
    --------
    >>> acc([1, 1, 2, 2], ["a", "a", "b", "b"])
    1.0
    """
    pair = encode_pair(labels_true, labels_pred)
    both = skm.homogeneity_completeness_v_measure(*pair)[:2]
    return float(np.mean([skm.normalized_mutual_info_score(*pair), *both]))
