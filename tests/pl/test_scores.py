import numpy as np
import pandas as pd
import pytest

import histoquilt as hq

MEANS = {"spahgc": ("method", 0.3), "ridge": ("baseline", 0.2), "depth_oracle": ("oracle", 0.35)}


@pytest.fixture
def table():
    rows = [
        {"fold": fold, "section": fold, "method": name, "kind": kind, "seed": seed, "gene_set": gene_set,
         "pcc_median": mean + 0.01 * place + 0.002 * seed, "rmse": 1 - mean}
        for name, (kind, mean) in MEANS.items()
        for place, fold in enumerate("abc")
        for seed in ((0, 1) if name == "spahgc" else (0,))
        for gene_set in ("panel", "top50_mean")
    ]  # fmt: skip
    pooled = [row | {"fold": "all", "section": "pooled", "pcc_median": 0.9} for row in rows[:1]]
    return pd.DataFrame(rows + pooled)


def test_methods_stand_before_baselines_and_oracles_whatever_they_score(table):
    ax = hq.pl.scores(table)
    names = [label.get_text() for label in ax.get_yticklabels()][::-1]
    assert names == ["spahgc", "ridge", "depth_oracle"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["method", "baseline", "oracle"]
    assert [text.get_text() for text in ax.texts] == ["0.360", "0.210", "0.311"]  # from below; pooled rows left out


def test_a_section_is_one_dot_however_many_seeds(table):
    ax = hq.pl.scores(table)
    dots = [one.get_offsets() for one in ax.collections if len(one.get_offsets()) == 3]
    assert len(dots) == 3
    np.testing.assert_allclose(dots[-1][:, 0], [0.301, 0.311, 0.321])


def test_errors_are_best_when_low_and_one_fold_has_no_interval(table):
    table.loc[table["method"] == "ridge", "kind"] = "method"
    ax = hq.pl.scores(table[table["fold"] == "a"], value="rmse")
    assert [label.get_text() for label in ax.get_yticklabels()][::-1] == ["spahgc", "ridge", "depth_oracle"]
    assert len(ax.lines) == 1  # the line at 0


def test_what_is_missing_is_named(table):
    with pytest.raises(KeyError, match=r"lacks the column.*'pcc_mean'.*evaluate_expression"):
        hq.pl.scores(table, value="pcc_mean")
    with pytest.raises(KeyError, match=r"No gene set 'all' .*'panel', 'top50_mean'"):
        hq.pl.scores(table, gene_set="all")


def test_genes_of_two_methods():
    rows = [
        {"section": section, "method": method, "gene": gene, "pearson": value + shift}
        for gene, values in {"A": (0.1, 0.5), "B": (0.4, 0.3), "C": (0.2, 0.25)}.items()
        for method, value in zip(("ridge", "spahgc"), values, strict=True)
        for section, shift in (("s1", -0.1), ("s2", 0.1), ("pooled", 5))
    ]
    genes = pd.DataFrame(rows)
    ax = hq.pl.gene_scores(genes, "spahgc", n_named=1, genes=["C"])
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.1, 0.5], [0.4, 0.3], [0.2, 0.25]])
    assert ax.get_title() == "2 of 3 genes higher with spahgc"
    assert [text.get_text() for text in ax.texts] == ["A", "C"]
    with pytest.raises(KeyError, match="No genes scored for 'knn'"):
        hq.pl.gene_scores(genes, "knn")
    with pytest.raises(KeyError, match="'X' not among the 3 genes"):
        hq.pl.gene_scores(genes, "spahgc", genes=["X"])
    with pytest.raises(KeyError, match="lacks the column"):
        hq.pl.gene_scores(genes.drop(columns="gene"), "spahgc")
