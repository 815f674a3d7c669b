"""What anndata cannot write, in any version that is allowed, is made plain or refused with its name."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.io import _writable
from histoquilt.io._writable import check_writable, writable
from histoquilt.study._layers import named_layers


@pytest.fixture
def section() -> AnnData:
    names = [f"spot{i}" for i in range(6)]
    return AnnData(
        csr_matrix(np.arange(24, dtype=np.float32).reshape(6, 4)),
        obs=pd.DataFrame({"n": np.arange(6)}, index=names),
        var=pd.DataFrame(index=list("ABCD")),
        obsm={"spatial": np.random.default_rng(0).random((6, 2))},
    )


def nullable(section: AnnData, where: str) -> None:
    """Put text of pandas' nullable type somewhere."""
    text = pd.array(["u", "v", "w"] * 2, dtype="string")
    if where == "obs index":
        section.obs_names = pd.Index(section.obs_names, dtype="string")
    elif where == "var index":
        section.var_names = pd.Index(section.var_names, dtype="string")
    elif where == "obs column":
        section.obs["note"] = text
    elif where == "gaps":
        section.obs["note"] = pd.array(["u", None, "w"] * 2, dtype="string")
    elif where == "categories":
        section.obs["note"] = pd.Categorical(text)
    elif where == "var column":
        section.var["note"] = text[:4]
    elif where == "obsm table":
        section.obsm["table"] = pd.DataFrame({"note": text}, index=section.obs_names)
    elif where == "uns":
        section.uns["deep"] = {"note": text, "table": pd.DataFrame({"note": text})}
    elif where == "raw":
        section.raw = section
        section.raw.var["note"] = text[:4]
        section.raw.var.index = section.raw.var.index.astype("string")


PLACES = ["obs index", "var index", "obs column", "gaps", "categories", "var column", "obsm table", "uns", "raw"]


@pytest.mark.parametrize("where", PLACES)
def test_nullable_text_from_python_is_written(section, where, tmp_path):
    nullable(section, where)
    before = section.obs.dtypes.copy(), section.obs_names.dtype
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    assert (section.obs.dtypes == before[0]).all()  # the caller's object is not touched
    assert section.obs_names.dtype == before[1]
    back = hq.io.read_h5ad(tmp_path / "a.h5ad")
    assert back.obs_names.tolist() == [f"spot{i}" for i in range(6)]
    assert back.var_names.tolist() == list("ABCD")
    assert (back.X != section.X).nnz == 0
    if "note" in section.obs:
        expected = ["u", "-", "w"] if where == "gaps" else ["u", "v", "w"]
        assert back.obs["note"].astype(object).fillna("-").tolist() == expected * 2
    if where == "obsm table":
        assert back.obsm["table"]["note"].tolist() == ["u", "v", "w"] * 2
    if where == "uns":
        assert list(back.uns["deep"]["note"]) == ["u", "v", "w"] * 2
    if where == "raw":
        assert back.raw.var["note"].tolist() == ["u", "v", "w", "u"]
        assert (back.raw.X != section.X).nnz == 0


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("where", PLACES)
def test_nullable_text_in_a_file_is_read_as_plain_text(section, where, backed, tmp_path):
    nullable(section, where)
    with anndata.settings.override(allow_write_nullable_strings=True):
        section.write_h5ad(tmp_path / "a.h5ad", convert_strings_to_categoricals=False)
    back = hq.io.read_h5ad(tmp_path / "a.h5ad", backed=backed)
    kinds = [
        back.obs_names.dtype,
        back.var_names.dtype,
        *back.obs.dtypes,
        *back.var.dtypes.drop(["gene_id", "gene_symbol"], errors="ignore"),
    ]
    assert not any(isinstance(kind, pd.StringDtype) for kind in kinds)
    hq.io.write_h5ad(back, tmp_path / "b.h5ad")
    again = hq.io.read_h5ad(tmp_path / "b.h5ad")
    assert again.obs_names.tolist() == section.obs_names.tolist()
    assert again.obs.columns.tolist() == section.obs.columns.tolist()


def test_matrices_are_not_copied(section):
    section.layers["counts"] = section.X
    section.obs["kind"] = pd.Categorical(
        np.array(["a", "b"] * 3, dtype=object), categories=pd.Index(["a", "b"], dtype=object)
    )
    section.obs_names = pd.Index(section.obs_names, dtype=object)
    section.var_names = pd.Index(section.var_names, dtype=object)
    for note in (None, pd.array(["u", None, "w"] * 2, dtype="string")):
        section.obs["note"] = note
        shared = writable(section)
        assert shared.X is section.X
        assert shared.layers["counts"] is section.X
        assert shared.obsm["spatial"] is section.obsm["spatial"]
        assert list(named_layers(shared)) == ["counts"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([True, None] * 3, "boolean"), ([1, 2, None] * 2, "Int64"), ([0.5, 1, 2] * 2, "float64")],
)
def test_objects_of_one_type_are_written_as_what_they_are(section, values, dtype, tmp_path):
    section.obs["mark"] = pd.Series(values, dtype=object, index=section.obs_names)
    hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    assert hq.io.read_h5ad(tmp_path / "a.h5ad").obs["mark"].dtype == dtype


@pytest.mark.parametrize(
    ("part", "name", "values", "words"),
    [
        ("obs", "note", ["a", 1] * 3, r"obs\['note'\] holds mixed-integer values \(first: 'a' of type str\)"),
        ("obs", "note", [["a"], ["b"]] * 3, r"obs\['note'\] holds mixed values \(first: \"\['a'\]\" of type list\)"),
        ("var", "note", [{"a": 1}] * 4, r"var\['note'\] holds mixed values .* of type dict"),
        ("obs", "_index", ["a"] * 6, r"obs\['_index'\] cannot: its name is reserved by the file format"),
        ("obs", "", ["a"] * 6, r"obs\[''\] cannot: its name is empty"),
        ("obs", "when", pd.period_range("2024", periods=6, freq="D"), r"obs\['when'\] cannot: "),
        ("uns", "odd", {"deep": object()}, r"uns\['odd'\]\['deep'\] of type object cannot: "),
        ("uns", "odd", {"a\0b": 1}, r"uns\['odd'\]\['a\\x00b'\] cannot: its name holds a NUL"),
    ],
)
def test_what_cannot_be_written_is_named(section, part, name, values, words, tmp_path):
    if part == "uns":
        section.uns[name] = values
    else:
        getattr(section, part)[name] = values
    with pytest.raises(ValueError, match=f"could not be written to an .h5ad file: {words}"):
        check_writable(section)
    with pytest.raises(ValueError, match=words):
        hq.io.write_h5ad(section, tmp_path / "a.h5ad")
    assert not list(tmp_path.iterdir())


def test_all_that_cannot_be_written_is_named_at_once(section):
    section.obs["a"] = [[1]] * 6
    section.var["."] = [1] * 4
    with pytest.raises(ValueError, match=r"obs\['a'\].*; var\['.'\] cannot: its name is reserved"):
        check_writable(section)


def test_sections_that_have_x_and_layers_are_joined_and_taken_apart(section):
    section.layers["counts"] = section.X.copy()
    joint = hq.io.concat_sections({"a": section, "b": section.copy()})
    assert list(named_layers(joint)) == ["counts"]
    back = hq.io.split_sections(joint)["b"]
    assert list(named_layers(back)) == ["counts"]
    assert (back.X != section.X).nnz == 0


def test_many_plain_columns_need_no_trial(monkeypatch):
    """Denoised expression has thousands of columns; each written on trial takes as long as writing it."""
    trials = []
    monkeypatch.setattr(_writable, "_error", lambda value: trials.append(value.shape[1]))
    values = np.zeros((3, 5000), np.float32)
    adata = AnnData(obs=pd.DataFrame(index=list("abc")))
    adata.obsm["denoised"] = pd.DataFrame(values, index=adata.obs_names, columns=[f"gene{i}" for i in range(5000)])
    check_writable(adata)
    assert max(trials, default=0) == 0
