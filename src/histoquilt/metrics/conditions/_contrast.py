"""Two conditions, and the patients that are compared between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import permutation_test, t

LEAST_PATIENTS = 2  # of each condition, or pairs: with fewer nothing is known about the spread between patients
FDR_LEVEL = 0.05  # false discovery rate below which a difference counts as found
N_PERMUTATIONS = 10_000  # all of them where there are not more


@dataclass(frozen=True)
class Contrast:
    """A condition, the one that it is compared with, and the patients of both.

    Attributes
    ----------
    condition, reference
        Names of the conditions; differences are ``condition`` minus ``reference``.
    patients, reference_patients
        Patients of each, in the same order if the comparison is paired.
    paired
        True if every compared patient has both conditions, so that differences within patients are tested.
    left_out
        Patients that the comparison cannot use: those with one condition in a paired comparison, those with both in
        one that is not.

    Examples
    --------
    >>> from histoquilt.metrics import Contrast
    >>> patients, conditions = ["p1", "p2", "p3", "p4"], ["tumour", "tumour", "control", "control"]
    >>> contrast = Contrast.of(patients, conditions, "tumour", "control")
    >>> contrast.patients, contrast.reference_patients, contrast.paired
    (('p1', 'p2'), ('p3', 'p4'), False)
    """

    condition: str
    reference: str
    patients: tuple[str, ...]
    reference_patients: tuple[str, ...]
    paired: bool
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, patients: Sequence[str], conditions: Sequence[str], condition: str, reference: str) -> "Contrast":
        """Find the patients to compare.

        The comparison is paired if more than half of the patients have sections of both conditions.

        Parameters
        ----------
        patients, conditions
            Patient and condition of every section.
        condition, reference
            Conditions to compare.

        Examples
        --------
        >>> found = Contrast.of(["p1", "p1", "p2", "p2"], ["b", "a", "b", "a"], "b", "a")
        >>> found.patients, found.paired, found.smallest_p
        (('p1', 'p2'), True, 0.5)
        """
        of_condition, of_reference = (
            list(dict.fromkeys(p for p, c in zip(patients, conditions, strict=True) if c == wanted))
            for wanted in (condition, reference)
        )
        both = [patient for patient in of_condition if patient in of_reference]
        every = dict.fromkeys([*of_reference, *of_condition])
        if 2 * len(both) > len(every):
            return cls(condition, reference, tuple(both), tuple(both), True, tuple(p for p in every if p not in both))
        own, others = (tuple(p for p in names if p not in both) for names in (of_condition, of_reference))
        return cls(condition, reference, own, others, False, tuple(both))

    @property
    def can_test(self) -> bool:
        """Whether there are enough patients for a p-value."""
        return min(len(self.patients), len(self.reference_patients)) >= LEAST_PATIENTS

    @property
    def smallest_p(self) -> float:
        """Smallest two-sided p-value that a permutation of these patients can give; 1 if nothing can be tested."""
        n, m = len(self.patients), len(self.reference_patients)
        if not self.can_test:
            return 1.0
        return min(1.0, 2 / (2**n if self.paired else comb(n + m, n)))

    @property
    def note(self) -> str:
        """What the number of patients does not allow; empty if there are enough."""
        n, m = len(self.patients), len(self.reference_patients)
        who = f"{n} patients have both conditions" if self.paired else f"{n} and {m} patients"
        if not self.can_test:
            return f"{who}: no p-values, which need two patients of each condition, or two with both."
        if self.smallest_p > FDR_LEVEL:
            return (
                f"{who}: permutations of so few give no p below {self.smallest_p:.2g}, so that smaller p-values rest "
                "on the assumption that patients vary normally."
            )
        return ""


def compare_patients(values: pd.DataFrame, contrast: Contrast, *, moderated: bool = False) -> pd.DataFrame:
    """Test each column for a difference between two conditions, with patients as the observations.

    Sections of one patient and condition are averaged first: they are not independent, and neither are their spots.
    Patients with one condition are compared by Welch's t-test, those with both by the paired t-test. With
    ``moderated``, for many columns of a kind (genes), variances are pooled over both conditions and moderated
    towards their common value (Smyth 2004).

    Parameters
    ----------
    values
        One row per section, indexed by ``(patient, condition)``, one column per quantity; NaN where a section has no
        value.
    contrast
        Conditions and patients (:class:`Contrast`).
    moderated
        If true, moderate the variances; there is no permutation test then.

    Returns
    -------
    One row per column of ``values``: ``mean_reference, mean_condition, difference, low, high`` (95 % confidence
    interval), ``t, p, p_permutation, n_reference, n_condition`` (patients with a value). ``p`` is NaN with fewer than
    two patients of a condition (or pairs); where patients do not vary at all it is that of the permutation test.
    ``p_permutation`` is exact up to 10,000 permutations of the patients, else from 10,000 random ones.

    References
    ----------
    Smyth, Stat Appl Genet Mol Biol 3, 2004, Article 3 (moderated t-statistic).

    Examples
    --------
    >>> index = pd.MultiIndex.from_tuples([(p, "ab"[p > "p2"]) for p in ("p1", "p2", "p3", "p4")])
    >>> values = pd.DataFrame({"layer1": [1.0, 1.2, 3.0, 3.2]}, index=index)
    >>> contrast = Contrast.of(*zip(*index), "b", "a")
    >>> compare_patients(values, contrast)[["difference", "p", "p_permutation"]].round(3).values.tolist()
    [[2.0, 0.005, 0.333]]
    """
    own, other = patient_means(values, contrast)
    n_own, n_other = (np.isfinite(side).sum(axis=0) for side in (own, other))
    mean_own, mean_other = _mean(own), _mean(other)
    difference = mean_own - mean_other
    enough = np.minimum(n_own, n_other) >= LEAST_PATIENTS
    with np.errstate(all="ignore"):
        if contrast.paired:
            variance, df, share = _variance(own - other), n_own - 1.0, 1 / n_own
        elif moderated:
            df = n_own + n_other - 2.0
            variance = ((n_own - 1) * _variance(own) + (n_other - 1) * _variance(other)) / df
            share = 1 / n_own + 1 / n_other
        else:  # Welch: variance of the difference, with the degrees of freedom of Satterthwaite
            of_own, of_other = _variance(own) / n_own, _variance(other) / n_other
            variance, share = of_own + of_other, np.ones(len(n_own))
            df = variance**2 / (of_own**2 / (n_own - 1) + of_other**2 / (n_other - 1))
        if moderated:
            variance, df = moderate_variances(variance, df, enough)
        error = np.sqrt(variance * share)
        statistic = np.where(error > 0, difference / error, np.nan)
        p = np.where(enough, 2 * t.sf(np.abs(statistic), df), np.nan)
        reach = np.where(enough, t.ppf(0.975, df) * error, np.nan)
    found = {
        "mean_reference": mean_other, "mean_condition": mean_own, "difference": difference, "low": difference - reach,
        "high": difference + reach, "t": statistic, "p": p,
    }  # fmt: skip
    if not moderated:
        permuted = [
            _permutation_p(own[:, column], other[:, column], contrast.paired) if enough[column] else np.nan
            for column in range(values.shape[1])
        ]
        found["p_permutation"] = np.array(permuted)
        found["p"] = np.where(enough & ~(error > 0), found["p_permutation"], p)
    return pd.DataFrame({**found, "n_reference": n_other, "n_condition": n_own}, index=values.columns)


def patient_means(values: pd.DataFrame, contrast: Contrast) -> tuple[np.ndarray, np.ndarray]:
    """Return the means over sections of each patient of the condition and of the reference.

    Both are ``(n_patients, n_columns)``; in a paired comparison they are NaN where either is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.metrics import Contrast, patient_means
    >>> contrast = Contrast.of(["p1", "p1", "p2"], ["tumour", "tumour", "control"], "tumour", "control")
    >>> keys = pd.MultiIndex.from_tuples([("p1", "tumour"), ("p1", "tumour"), ("p2", "control")])
    >>> own, other = patient_means(pd.DataFrame({"share": [0.2, 0.4, 0.1]}, index=keys), contrast)
    >>> own.round(3).tolist(), other.tolist()
    ([[0.3]], [[0.1]])
    """
    means = values.groupby(level=[0, 1], sort=False).mean()
    own = means.reindex([(p, contrast.condition) for p in contrast.patients]).to_numpy(np.float64)
    other = means.reindex([(p, contrast.reference) for p in contrast.reference_patients]).to_numpy(np.float64)
    if contrast.paired:
        missing = np.isnan(own) | np.isnan(other)
        own, other = np.where(missing, np.nan, own), np.where(missing, np.nan, other)
    return own, other


def moderate_variances(variance: np.ndarray, df: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return variances shrunken towards their common value, and their degrees of freedom (Smyth 2004, section 6.2).

    The prior, a scaled inverse chi-squared distribution, is fitted to the variances in ``use`` by the moments of their
    logarithms; ``df`` are the degrees of freedom of each variance. Fewer than three variances are returned as they are.
    """
    if use.sum() < 3 or not (variance[use] > 0).any():
        return variance, df
    floor = 1e-5 * np.median(variance[use])  # a gene that does not vary at all is an accident of few patients
    log = np.log(np.maximum(variance[use], max(floor, np.finfo(float).tiny)))
    centred = log - digamma(df[use] / 2) + np.log(df[use] / 2)
    spread = centred.var(ddof=1) - polygamma(1, df[use] / 2).mean()
    if spread <= 0:  # all alike: the common value is known
        return np.full_like(variance, np.exp(centred.mean())), np.full_like(df, np.inf)
    prior_df = 2 * brentq(lambda x: polygamma(1, x) - spread, 1e-6, 1e8)
    prior = np.exp(centred.mean() + digamma(prior_df / 2) - np.log(prior_df / 2))
    return (prior_df * prior + df * variance) / (prior_df + df), df + prior_df


def _permutation_p(own: np.ndarray, other: np.ndarray, paired: bool) -> float:
    """Return the two-sided p-value of the difference of means under permutation of patients, or within them."""
    own, other = own[np.isfinite(own)], other[np.isfinite(other)]
    found = permutation_test(
        (own, other), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), vectorized=True,
        permutation_type="samples" if paired else "independent", n_resamples=N_PERMUTATIONS,
        random_state=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of each column without NaN; NaN for empty columns."""
    n = np.isfinite(values).sum(axis=0)
    return np.divide(np.nansum(values, axis=0), n, out=np.full(values.shape[1], np.nan), where=n > 0)


def _variance(values: np.ndarray) -> np.ndarray:
    """Return the unbiased variance of each column without NaN."""
    n = np.isfinite(values).sum(axis=0)
    return np.nansum((values - _mean(values)) ** 2, axis=0) / (n - 1)
