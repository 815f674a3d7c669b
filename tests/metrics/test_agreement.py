"""Agreement metrics against counting by hand, scikit-learn, and the missing labels that real annotations have."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as skm

from histoquilt import metrics

ALL = ["ari", "nmi", "ami", "homogeneity", "completeness", "v_measure", "fowlkes_mallows", "acc"]

# Six spots, worked by hand below. Contingency (rows true, columns found):
#        x  y  z
#   a    2  1  0   3
#   b    0  2  1   3
#        2  3  1   6
TRUE = ["a", "a", "a", "b", "b", "b"]
PRED = ["x", "x", "y", "y", "y", "z"]


def test_ari_by_hand():
    # pairs together in both: C(2,2) + C(2,2) = 2; in true: 3 + 3 = 6; in found: 1 + 3 + 0 = 4; all: C(6,2) = 15
    # expected 6 * 4 / 15 = 1.6, largest (6 + 4) / 2 = 5, so (2 - 1.6) / (5 - 1.6) = 0.4 / 3.4
    assert metrics.ari(TRUE, PRED) == pytest.approx(0.4 / 3.4)


def test_fowlkes_mallows_by_hand():
    # 2 pairs together in both, 6 in true, 4 in found: 2 / sqrt(24)
    assert metrics.fowlkes_mallows(TRUE, PRED) == pytest.approx(2 / math.sqrt(24))


def entropies() -> tuple[float, float, float]:
    """H(true), H(found) and their mutual information in nats, term by term from the table."""
    h_true = math.log(2)
    h_pred = -(2 / 6 * math.log(2 / 6) + 3 / 6 * math.log(3 / 6) + 1 / 6 * math.log(1 / 6))
    # MI = sum n_ij/n log(n n_ij / (n_i n_j)): (a,x) 2: log 2; (a,y) 1: log(6/9); (b,y) 2: log(12/9); (b,z) 1: log 2
    mutual = 2 / 6 * math.log(2) + 1 / 6 * math.log(6 / 9) + 2 / 6 * math.log(12 / 9) + 1 / 6 * math.log(2)
    return h_true, h_pred, mutual


def test_information_by_hand():
    h_true, h_pred, mutual = entropies()
    nmi = mutual / ((h_true + h_pred) / 2)
    homogeneity, completeness = mutual / h_true, mutual / h_pred
    assert metrics.nmi(TRUE, PRED) == pytest.approx(nmi)
    assert metrics.homogeneity(TRUE, PRED) == pytest.approx(homogeneity)
    assert metrics.completeness(TRUE, PRED) == pytest.approx(completeness)
    assert metrics.v_measure(TRUE, PRED) == pytest.approx(2 * homogeneity * completeness / (homogeneity + completeness))
    assert metrics.acc(TRUE, PRED) == pytest.approx((nmi + homogeneity + completeness) / 3)


def test_ami_by_hand():
    # Four spots, true 2+2, found 2+2 crossed. Of the 4!/(2!2!) = 6 ways to deal the found labels, 2 give the same
    # partition (MI = log 2) and 4 cross it (MI = 0): expected MI = log(2) / 3; mean entropy log 2.
    # AMI = (0 - log2/3) / (log2 - log2/3) = -1/2
    assert metrics.ami([1, 1, 2, 2], [1, 2, 1, 2]) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("ari", skm.adjusted_rand_score),
        ("nmi", skm.normalized_mutual_info_score),
        ("ami", skm.adjusted_mutual_info_score),
        ("homogeneity", skm.homogeneity_score),
        ("completeness", skm.completeness_score),
        ("v_measure", skm.v_measure_score),
        ("fowlkes_mallows", skm.fowlkes_mallows_score),
    ],
)
def test_agrees_with_scikit_learn(name, reference):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 300)
    pred = np.where(rng.random(300) < 0.5, true, rng.integers(0, 7, 300))
    assert getattr(metrics, name)(true, pred) == pytest.approx(reference(true, pred), abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_names_and_order_of_spots_do_not_matter(name):
    rng = np.random.default_rng(1)
    true, pred = rng.integers(0, 4, 80), rng.integers(0, 5, 80)
    order = rng.permutation(80)
    renamed = np.array(["WM", "L1", "L6", "", "L2"], dtype=object)
    renamed[3] = "L3"
    score = getattr(metrics, name)
    assert score(true[order], renamed[pred[order]]) == pytest.approx(score(true, pred), abs=1e-12)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, ""], ids=["None", "nan", "NA", "empty"])
@pytest.mark.parametrize("name", ALL)
def test_unlabelled_spots_are_left_out_on_either_side(name, missing):
    score = getattr(metrics, name)
    expected = score(TRUE, PRED)
    true = pd.Series([*TRUE, missing, "b"], dtype=object)
    pred = pd.Series([*PRED, "x", missing], dtype=object)
    assert score(true, pred) == pytest.approx(expected)
    assert score(true.to_numpy(), pred.to_list()) == pytest.approx(expected)


def test_a_pandas_categorical_with_unused_categories():
    true = pd.Categorical([*TRUE, None], categories=["never", "a", "b", "unused"])
    pred = pd.Series([*PRED, "x"], dtype="category")
    assert metrics.ari(true, pred) == pytest.approx(0.4 / 3.4)


def test_float_labels_with_nan_as_r_writes_them():
    assert metrics.ari([1.0, 1.0, 2.0, 2.0, np.nan], [3.0, 3.0, 4.0, 4.0, 4.0]) == 1.0


@pytest.mark.parametrize("name", ALL)
def test_one_domain_on_both_sides_is_full_agreement(name):
    assert getattr(metrics, name)(["a"] * 5, [0] * 5) == pytest.approx(1.0)


def test_every_spot_alone_has_no_pairs_to_agree_on():
    assert metrics.fowlkes_mallows([1, 2, 3], [1, 2, 3]) == 0.0
    assert metrics.ari([1, 2, 3], [1, 2, 3]) == 1.0


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"labels_true has 2 spots and labels_pred 3.*same order"):
        metrics.ari([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"No spot is labelled in both.*annotation belongs"):
        metrics.nmi([None, "a"], ["b", None])
    with pytest.raises(ValueError, match=r"labels_pred must be one label per spot.*\(2, 1\)"):
        metrics.acc([1, 2], [[1], [2]])
