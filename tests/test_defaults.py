"""The defaults of SpatialFactors are the best row of the table that was made without labels."""

import json
from pathlib import Path

import pandas as pd
import pytest

from histoquilt.models import SpatialFactorsConfig

TABLE = Path(__file__).parents[1] / "benchmarks" / "defaults.csv"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    if not TABLE.exists():
        pytest.skip("benchmarks/ is not shipped with this copy of the tests")
    return pd.read_csv(TABLE, index_col="setting")


def test_defaults_are_the_best_row(table):
    best = table["mean"].idxmax()
    assert SpatialFactorsConfig.from_dict(json.loads(table.loc[best, "config"])) == SpatialFactorsConfig()


def test_every_row_is_another_setting(table):
    assert len(table) >= 4
    assert table["config"].is_unique


def test_the_mean_is_that_of_the_sections(table):
    sections = table.drop(columns=["mean", "config"])
    pd.testing.assert_series_equal(sections.mean(axis=1), table["mean"], check_names=False, atol=2e-5)
