"""Domains against an annotation, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from histoquilt.metrics import ari, named_regions, nmi, score_annotation


def test_counts_and_what_each_domain_stands_for():
    annotation = ["tumour"] * 4 + ["stroma"] * 4 + [None, "Undetermined"]
    domains = pd.Categorical(["1", "1", "1", "2", "2", "2", "3", None, "4", "1"], categories=["1", "2", "3", "4"])
    score = score_annotation(annotation, domains)
    assert score.n_spots == 7
    assert score.counts.columns.tolist() == ["stroma", "tumour"]
    assert score.counts.to_numpy().tolist() == [[0, 3], [2, 1], [1, 0], [0, 0]]
    assert score.region_of == {"1": "tumour", "2": "stroma", "3": "stroma", "4": None}
    assert score.share == pytest.approx(6 / 7)
    assert score.ari == ari(annotation[:7], domains[:7])
    assert score.nmi == nmi(annotation[:7], domains[:7])


@pytest.mark.parametrize("annotation", [["tumour"] * 3 + [None], [None] * 4, ["unknown", "", np.nan, "tumour"]])
def test_one_region_is_no_division_to_agree_with(annotation):
    score = score_annotation(annotation, ["1", "1", "2", "2"])
    assert np.isnan(score.ari)
    assert np.isnan(score.nmi)
    assert score.n_spots == sum(region is not None for region in named_regions(annotation))


def test_words_that_name_no_region_may_be_others():
    assert named_regions(["fold", "NA", "a"], unlabelled=["Fold"]).tolist() == [None, "NA", "a"]
    assert named_regions(pd.Series([1, 2, None])).tolist() == ["1.0", "2.0", None]


def test_lengths():
    with pytest.raises(ValueError, match="annotation has 2 spots and domains 3"):
        score_annotation(["a", "b"], ["1", "2", "3"])
