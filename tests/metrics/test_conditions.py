"""Conditions compared between patients: values by hand, agreement with scipy, and calibration without differences."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import ttest_ind, ttest_rel

from histoquilt.gr import grid_adjacency
from histoquilt.metrics import Contrast, centred_log_ratio, compare_patients, neighbour_enrichment, patient_means
from histoquilt.metrics.conditions._composition import neighbour_counts
from histoquilt.metrics.conditions._contrast import moderate_variances


def table(values, patients, conditions) -> pd.DataFrame:
    index = pd.MultiIndex.from_arrays([patients, conditions])
    return pd.DataFrame(np.asarray(values, float), index=index)


def test_log_ratios_are_those_of_counts_with_half_a_spot_and_sum_to_zero():
    ratios = centred_log_ratio(np.array([[7.5, 1.5, 0], [100, 50, 25]]))
    np.testing.assert_allclose(ratios[0], np.log2([8, 2, 0.5]) - np.log2(2))
    np.testing.assert_allclose(ratios.sum(axis=1), 0, atol=1e-12)


def test_bad_counts_and_pseudo_counts_are_named():
    with pytest.raises(ValueError, match="must not be negative"):
        centred_log_ratio(np.array([[1, -1]]))
    with pytest.raises(ValueError, match="pseudo_count must be positive, got 0"):
        centred_log_ratio(np.array([[1, 1]]), 0)


@pytest.fixture
def lattice():
    x, y = np.meshgrid(np.arange(12.0), np.arange(10.0))
    points = np.column_stack([x.ravel(), y.ravel()])
    return points, grid_adjacency(points, 4)


def test_expected_neighbours_are_the_mean_over_shuffled_labels(lattice):
    _, graph = lattice
    rng = np.random.default_rng(0)
    codes = rng.choice([-1, 0, 1, 2], 120, p=[0.1, 0.2, 0.3, 0.4])
    inside = np.flatnonzero(codes >= 0)
    shuffled = []
    for _ in range(400):
        other = codes.copy()
        other[inside] = rng.permutation(codes[inside])
        shuffled.append(neighbour_counts(other, graph, 3)[0])
    observed, expected = neighbour_counts(codes, graph, 3)
    np.testing.assert_allclose(np.mean(shuffled, axis=0), expected, rtol=0.03)
    assert (observed == observed.T).all()
    linked = csr_matrix(graph)[inside][:, inside]
    assert np.triu(observed).sum() == linked.nnz / 2


def test_enrichment_is_near_zero_for_shuffled_labels_and_not_defined_for_an_absent_domain(lattice):
    points, graph = lattice
    mixed = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], 40))
    found = neighbour_enrichment(mixed, graph, 4)
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()
    assert np.nanmax(np.abs(found)) < 0.5
    halves = (points[:, 0] > 5).astype(int)
    apart = neighbour_enrichment(halves, graph, 2)
    assert apart[0, 0] > 0.8
    assert apart[0, 1] < -2


def test_sections_of_a_patient_are_averaged_before_a_welch_test():
    rng = np.random.default_rng(0)
    patients = [f"p{i // 2}" for i in range(14)]  # two sections each
    conditions = ["a"] * 6 + ["b"] * 8
    values = rng.normal(size=(14, 3))
    contrast = Contrast.of(patients, conditions, "b", "a")
    found = compare_patients(table(values, patients, conditions), contrast)
    means = values.reshape(7, 2, 3).mean(axis=1)
    reference = ttest_ind(means[3:], means[:3], equal_var=False)
    interval = reference.confidence_interval()
    np.testing.assert_allclose(found["p"], reference.pvalue)
    np.testing.assert_allclose(found["t"], reference.statistic)
    np.testing.assert_allclose(found[["low", "high"]].T, [interval.low, interval.high])
    np.testing.assert_allclose(found["difference"], means[3:].mean(axis=0) - means[:3].mean(axis=0))
    assert (found["n_reference"] == 3).all()
    assert (found["n_condition"] == 4).all()


def test_patients_with_both_conditions_are_compared_within():
    rng = np.random.default_rng(1)
    patients, conditions = ["p1", "p2", "p3", "p4"] * 2, ["a"] * 4 + ["b"] * 4
    values = rng.normal(size=(8, 2)) + np.tile(np.arange(4), 2)[:, None] * 10
    contrast = Contrast.of(patients, conditions, "b", "a")
    found = compare_patients(table(values, patients, conditions), contrast)
    assert contrast.paired
    assert contrast.smallest_p == 2 / 16
    np.testing.assert_allclose(found["p"], ttest_rel(values[4:], values[:4]).pvalue)


def test_the_permutation_test_counts_all_relabellings_of_patients():
    values = np.array([0.1, 0.5, 0.2, 0.9, 1.4, 1.1, 0.8])
    patients, conditions = list("1234567"), ["a"] * 3 + ["b"] * 4
    contrast = Contrast.of(patients, conditions, "b", "a")
    [p] = compare_patients(table(values[:, None], patients, conditions), contrast)["p_permutation"]
    differences = [values[list(own)].mean() - np.delete(values, list(own)).mean() for own in combinations(range(7), 4)]
    observed = values[3:].mean() - values[:3].mean()
    assert p == pytest.approx(2 * np.mean(np.array(differences) >= observed - 1e-12))
    assert contrast.smallest_p == 2 / 35


@pytest.mark.parametrize(
    ("patients", "conditions", "own", "paired", "left_out", "smallest"),
    [
        ("12345678", "aaaabbbb", "5678", False, "", 2 / 70),
        ("12341234", "aaaabbbb", "1234", True, "", 2 / 16),
        ("123412345", "aaaabbbba", "1234", True, "5", 2 / 16),
        ("12345671", "aaaabbbb", "567", False, "1", 2 / 20),
        ("12", "ab", "2", False, "", 1.0),
        ("11", "ab", "1", True, "", 1.0),
    ],
)
def test_who_is_compared(patients, conditions, own, paired, left_out, smallest):
    contrast = Contrast.of(patients, conditions, "b", "a")
    assert contrast.patients == tuple(own)
    assert contrast.paired == paired
    assert contrast.left_out == tuple(left_out)
    assert contrast.smallest_p == pytest.approx(smallest)
    assert contrast.can_test == (smallest < 1)
    assert bool(contrast.note) == (smallest > 0.05)


def test_one_patient_of_a_condition_gives_a_difference_but_no_p():
    contrast = Contrast.of("1234", "aaab", "b", "a")
    for moderated in (False, True):
        found = compare_patients(
            table([[0.0], [1], [2], [5]], list("1234"), list("aaab")), contrast, moderated=moderated
        )
        assert found["difference"].iloc[0] == 4
        assert found[["low", "high", "p"]].isna().all(axis=None)
    assert "no p-values" in contrast.note


def test_values_that_do_not_vary_have_the_p_of_permutations():
    patients, conditions = list("12345678"), ["a"] * 4 + ["b"] * 4
    values = table([[1, 1]] * 4 + [[1, 2]] * 4, patients, conditions)
    found = compare_patients(values, Contrast.of(patients, conditions, "b", "a"))
    np.testing.assert_allclose(found["p"], [1, 2 / 70])


def test_missing_values_leave_patients_out():
    patients, conditions = list("12345678"), ["a"] * 4 + ["b"] * 4
    values = np.random.default_rng(0).normal(size=(8, 2))
    values[0, 0] = np.nan
    values[4:7, 1] = np.nan
    found = compare_patients(table(values, patients, conditions), Contrast.of(patients, conditions, "b", "a"))
    assert found["n_reference"].tolist() == [3, 4]
    assert found["n_condition"].tolist() == [4, 1]
    assert found["p"].iloc[0] == pytest.approx(ttest_ind(values[4:, 0], values[1:4, 0], equal_var=False).pvalue)
    assert np.isnan(found["p"].iloc[1])
    paired = Contrast.of(list("12341234"), conditions, "b", "a")
    own, other = patient_means(table(values, list("12341234"), conditions), paired)
    assert np.isnan(own[0, 0])
    assert np.isnan(other[:3, 1]).all()


@pytest.mark.parametrize("prior_df", [3.0, 20.0])
def test_moderated_variances_recover_their_prior(prior_df):
    rng = np.random.default_rng(0)
    true = 0.3 * prior_df / rng.chisquare(prior_df, 4000)
    observed = true * rng.chisquare(4, 4000) / 4
    variance, df = moderate_variances(observed, np.full(4000, 4.0), np.ones(4000, bool))
    assert df[0] - 4 == pytest.approx(prior_df, rel=0.25)
    error, plain = (np.mean((np.log(found) - np.log(true)) ** 2) for found in (variance, observed))
    assert error < 0.7 * plain


def test_the_moderated_test_keeps_its_level_and_gains_power():
    rng = np.random.default_rng(0)
    patients, conditions = list("12345678"), ["a"] * 4 + ["b"] * 4
    contrast = Contrast.of(patients, conditions, "b", "a")
    sd = np.sqrt(0.1 * 8 / rng.chisquare(8, 3000))
    values = rng.normal(size=(8, 3000)) * sd
    p = compare_patients(table(values, patients, conditions), contrast, moderated=True)["p"]
    assert 0.035 < (p < 0.05).mean() < 0.065
    assert (p < 0.001).mean() < 0.004
    values[4:] += 1
    shifted = table(values, patients, conditions)
    moderated = compare_patients(shifted, contrast, moderated=True)["p"]
    plain = ttest_ind(values[4:], values[:4]).pvalue
    assert (moderated < 1e-3).mean() > 1.5 * (plain < 1e-3).mean()


def test_equal_variances_are_one_variance():
    variance, df = moderate_variances(np.full(50, 2.0), np.full(50, 4.0), np.ones(50, bool))
    assert np.isinf(df).all()
    assert np.ptp(variance) == 0
