"""Tables of spots joined so that they can be written."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq
from histoquilt.study.joined._obs import concat_obs

A = pd.DataFrame(
    {
        "count": [1, 2],
        "depth": [0.5, 1.5],
        "inside": [True, False],
        "layer": pd.Categorical(["L2", "L1"], categories=["L2", "L1"]),
        "note": ["x", "y"],
        "batch": ["b1", "b1"],
        "stage": pd.Categorical(["early", "late"], categories=["early", "late"], ordered=True),
    }
)
B = pd.DataFrame(
    {
        "count": [3],
        "layer": pd.Categorical(["L3"], categories=["L3", "L1"]),
        "note": ["z"],
        "batch": [7],
        "stage": pd.Categorical(["late"], categories=["early", "late"], ordered=True),
        "age": pd.array([pd.NA], dtype="Int64"),
    }
)


def test_columns_of_all_sections_each_of_one_type():
    joined = concat_obs([A, B])
    assert joined.columns.tolist() == ["count", "depth", "inside", "layer", "note", "batch", "stage", "age"]
    assert joined["count"].tolist() == [1, 2, 3]
    assert joined["count"].dtype == np.int64
    assert joined["depth"].tolist()[:2] == [0.5, 1.5]
    assert np.isnan(joined["depth"].iloc[2])
    assert joined["inside"].dtype == "boolean"
    assert joined["inside"].isna().tolist() == [False, False, True]
    assert joined["layer"].cat.categories.tolist() == ["L2", "L1", "L3"]
    assert joined["layer"].tolist() == ["L2", "L1", "L3"]
    assert joined["note"].tolist() == ["x", "y", "z"]
    assert joined["batch"].tolist() == ["b1", "b1", "7"]  # text in one section, a number in the other
    assert joined["stage"].dtype == A["stage"].dtype
    assert joined["age"].isna().all()


def test_the_joined_table_can_be_written_and_read(tmp_path):
    obs = concat_obs([A, B])
    obs.index = ["s1", "s2", "s3"]
    hq.io.write_h5ad(AnnData(np.ones((3, 2), np.float32), obs=obs), tmp_path / "a.h5ad")
    back = hq.io.read_h5ad(tmp_path / "a.h5ad").obs
    assert back["layer"].tolist() == ["L2", "L1", "L3"]
    assert back["batch"].tolist() == ["b1", "b1", "7"]
    assert back["inside"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", ["int32", "float32", "category", "object", "bool"])
def test_one_type_in_all_sections_stays(dtype):
    values = pd.Series([1, 0], dtype=dtype) if dtype != "object" else pd.Series(["u", "v"], dtype=object)
    joined = concat_obs([pd.DataFrame({"a": values}), pd.DataFrame({"a": values})])
    assert joined["a"].dtype == (
        pd.DataFrame({"a": values.to_numpy()})["a"].dtype if dtype == "object" else values.dtype
    )
    assert joined["a"].tolist() == values.tolist() * 2


def test_missing_text_is_missing_not_the_word_nan():
    joined = concat_obs([pd.DataFrame({"a": ["x", None]}), pd.DataFrame({"b": ["y"]})])
    assert joined["a"].isna().tolist() == [False, True, True]
    assert joined["a"].cat.categories.tolist() == ["x"]
