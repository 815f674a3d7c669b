"""Intervals over sections, and paired differences of methods."""

import numpy as np
import pandas as pd
import pytest

from histoquilt import metrics


def test_a_section_counts_once_however_many_values_it_has():
    few = metrics.bootstrap_ci({"a": 0.1, "b": 0.4, "c": 0.4})
    many = metrics.bootstrap_ci({"a": [0.0, 0.2] * 500, "b": 0.4, "c": [0.4]})
    assert few.mean == pytest.approx(0.3)
    assert (many.mean, many.low, many.high, many.n) == pytest.approx((few.mean, few.low, few.high, 3))
    assert few.low < few.mean < few.high


def test_one_seed_one_interval():
    values = dict(zip("abcdefghi", np.random.default_rng(0).normal(size=9), strict=True))
    assert metrics.bootstrap_ci(values, seed=3) == metrics.bootstrap_ci(values, seed=3)
    assert metrics.bootstrap_ci(values, seed=3) != metrics.bootstrap_ci(values, seed=4)
    assert metrics.bootstrap_ci(values).note == ""


def test_few_sections_say_so():
    two = metrics.bootstrap_ci({"a": 0.1, "b": 0.3})
    assert two.note == "2 sections: rough interval"
    assert (two.low, two.high) == pytest.approx((0.1, 0.3))  # their range: nothing else is known
    one = metrics.bootstrap_ci({"a": [0.1, 0.3]})
    assert np.isnan([one.low, one.high]).all()
    assert "1 section: no interval" in str(one)


@pytest.mark.parametrize("n_sections", [6, 12])
def test_intervals_cover_the_truth(n_sections):
    """Plain percentiles of 6 normal values cover their mean in 86 % of the cases; widened ones near 95 %."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        interval = metrics.bootstrap_ci(dict(enumerate(rng.normal(size=n_sections))), n=1000)
        found.append(interval.low <= 0 <= interval.high)
    assert 0.91 < np.mean(found) < 0.99


def test_what_bootstrap_refuses():
    with pytest.raises(ValueError, match="values_by_section is empty"):
        metrics.bootstrap_ci({})
    with pytest.raises(ValueError, match="Section 'b' has no value"):
        metrics.bootstrap_ci({"a": 1.0, "b": []})
    with pytest.raises(ValueError, match="Section 'a' has no value, or one that is NaN"):
        metrics.bootstrap_ci({"a": np.nan})
    with pytest.raises(ValueError, match="at least 100 draws"):
        metrics.bootstrap_ci({"a": 1.0}, n=10)


def scores(advantage=0.05, n_seeds=3):
    """Folds differ far more than methods do; ridge was run with one seed."""
    rng = np.random.default_rng(0)
    rows = []
    for fold in range(10):
        level = rng.normal(0.2, 0.2)
        row = {"fold": f"p{fold}", "section": f"s{fold}", "gene_set": "panel"}
        rows.append(row | {"method": "ridge", "seed": 0, "pcc_median": level})
        rows += [
            row | {"method": "spahgc", "seed": seed, "pcc_median": level + advantage + rng.normal(0, 0.01)}
            for seed in range(n_seeds)
        ]
    return pd.DataFrame(rows)


def test_pairing_takes_the_difference_between_folds_out():
    found = metrics.paired_difference(scores(), "spahgc").iloc[0]
    assert found["difference"] == pytest.approx(0.05, abs=0.01)
    assert 0.03 < found["ci_low"] < found["difference"] < found["ci_high"] < 0.07
    assert (found["n"], found["n_pairs"], found["n_higher"], found["note"]) == (10, 30, 30, "")
    reverse = metrics.paired_difference(scores(), "ridge", against="spahgc").iloc[0]
    assert reverse["difference"] == pytest.approx(-found["difference"])


def test_methods_with_the_same_seeds_are_paired_by_seed():
    table = scores()
    other = table[table["method"] == "spahgc"].assign(method="copy", pcc_median=lambda t: t["pcc_median"] - 0.01)
    found = metrics.paired_difference(pd.concat([table, other]), "spahgc", "copy").iloc[0]
    assert found["n_pairs"] == 30
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((0.01, 0.01))


def test_folds_are_drawn_not_their_sections():
    table = scores().assign(fold=lambda t: t["fold"].replace({"p1": "p0", "p2": "p0"}))
    assert metrics.paired_difference(table, "spahgc")["n"][0] == 8
    assert metrics.paired_difference(table, "spahgc", over="section")["n"][0] == 10
    few = table[table["fold"].isin(["p3", "p4"])]
    assert metrics.paired_difference(few, "spahgc")["note"][0] == "2 folds: rough interval"


def test_sets_of_genes_are_paired_each_on_its_own():
    table = scores()
    larger = table.assign(gene_set="top", pcc_median=2 * table["pcc_median"])
    found = metrics.paired_difference(pd.concat([larger, table]), "spahgc")
    assert found["gene_set"].tolist() == ["top", "panel"]
    one_by_one = pd.concat([metrics.paired_difference(one, "spahgc") for one in (larger, table)], ignore_index=True)
    pd.testing.assert_frame_equal(found, one_by_one, check_exact=True)


def test_what_cannot_be_paired_is_refused():
    table = scores()
    with pytest.raises(ValueError, match=r"not scored on the same folds.*p9, s9"):
        metrics.paired_difference(table[(table["fold"] != "p9") | (table["method"] == "ridge")], "spahgc")
    with pytest.raises(KeyError, match=r"No scores of the method 'knn' \(found: 'ridge', 'spahgc'\)"):
        metrics.paired_difference(table, "knn")
    of_ridge = table[table["method"] == "ridge"].assign(gene_set="top")
    with pytest.raises(KeyError, match=r"No scores of the method 'spahgc' \(found: 'ridge'\)"):
        metrics.paired_difference(pd.concat([table, of_ridge]), "spahgc")
    with pytest.raises(KeyError, match=r"lacks the column\(s\) 'seed'"):
        metrics.paired_difference(table.drop(columns="seed"), "spahgc")
    with pytest.raises(ValueError, match="'ridge' has several scores for one fold"):
        metrics.paired_difference(pd.concat([table, table]), "ridge", "spahgc")
    with pytest.raises(ValueError, match="over must be 'fold' or 'section'"):
        metrics.paired_difference(table, "spahgc", over="seed")
