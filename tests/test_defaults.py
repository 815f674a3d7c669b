"""The table behind the default of domains says what the documentation says of it."""

from pathlib import Path

import pandas as pd
import pytest

TABLE = Path(__file__).parents[1] / "benchmarks" / "defaults.csv"
CORTEX, BULB = ["151507", "151669", "151673", "151674"], ["mob_layers", "Rep1", "Rep2"]


@pytest.fixture(scope="module")
def ari() -> pd.DataFrame:
    """ARI of candidates (rows) on sections."""
    if not TABLE.exists():
        pytest.skip("benchmarks/ is not shipped with this copy of the tests")
    return pd.read_csv(TABLE).pivot_table("ari", "candidate", "section")


def test_large_sections_are_averaged_twice_and_small_ones_not(ari):
    large = [*CORTEX, "starmap"]
    assert (ari.loc["shared 2x", large] > ari.loc["shared 0x", large]).sum() == 4  # all but 151669
    assert ari.loc["shared 0x", BULB].mean() > ari.loc["shared 2x", BULB].mean() + 0.2


def test_both_members_together_are_no_worse_than_either_on_cortex(ari):
    alone = ari.loc[["spatial factors", "averaged 2x"], CORTEX].mean(axis=1)
    assert ari.loc["shared 2x", CORTEX].mean() > alone.max() - 0.005


def test_every_candidate_has_every_section(ari):
    assert ari.shape == (11, 13) or ari.drop(index=["SpaMask", "SpaMask, k-means"]).shape == (9, 13)
    assert ari.notna().all(axis=None)
