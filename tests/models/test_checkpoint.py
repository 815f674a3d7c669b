"""A model as a folder: what is in it, that it comes back as it was, and what damaged ones say."""

import json

import numpy as np
import pandas as pd
import pytest

from histoquilt.models import load

FILES = {"weights.safetensors", "config.json", "arrays.npz", "genes.txt", "provenance.json"}


def test_round_trip_gives_identical_output(fitted, section, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert type(loaded) is type(fitted)
    assert loaded.config == fitted.config
    assert loaded.genes == fitted.genes
    assert (loaded.embed(section) == fitted.embed(section)).all()
    if fitted.genes:
        pd.testing.assert_frame_equal(loaded.denoise(section), fitted.denoise(section), check_exact=True)
    assert repr(loaded) == repr(fitted)


def test_others_can_read_a_saved_model_as_far_as_the_umask_lets_them(pca_model, tmp_path):
    pca_model.save(tmp_path / "model")
    (tmp_path / "plain").touch()
    modes = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_a_loaded_model_can_be_saved_again(pca_model, section, tmp_path):
    pca_model.save(tmp_path / "first")
    load(tmp_path / "first").save(tmp_path / "second")
    assert (load(tmp_path / "second").embed(section) == pca_model.embed(section)).all()


def test_keys_are_remembered(section, tmp_path, pca_model):
    other = section.copy()
    other.obsm["xy"] = other.obsm.pop("spatial")
    other.layers["mine"] = other.X.copy()
    model = type(pca_model)(pca_model.config).fit(other, spatial_key="xy", layer="mine", seed=3, progress=False)
    model.save(tmp_path / "model")
    assert (load(tmp_path / "model").embed(other) == pca_model.embed(section)).all()


def test_the_folder_holds_no_pickle(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES | {"README.md"}
    with np.load(tmp_path / "model" / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
    for path in (tmp_path / "model").iterdir():
        assert not path.read_bytes().startswith(b"\x80")  # how a pickle of protocol 2 and later begins
    json.loads((tmp_path / "model" / "config.json").read_text())
    provenance = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert provenance["seed"] == 3
    assert "histoquilt" in provenance
    assert (tmp_path / "model" / "genes.txt").read_text().split() == fitted.genes


def test_an_existing_folder_is_refused_without_overwrite(pca_model, rep_model, tmp_path):
    pca_model.save(tmp_path / "model")
    with pytest.raises(FileExistsError, match=r"already holds results.*overwrite=True"):
        rep_model.save(tmp_path / "model")
    assert load(tmp_path / "model").genes == pca_model.genes
    rep_model.save(tmp_path / "model", overwrite=True)
    assert load(tmp_path / "model").genes == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(pca_model, tmp_path, name):
    pca_model.save(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"not a complete histoquilt model: {name} missing"):
        load(tmp_path / "model")


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is not a complete histoquilt model"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_truncated_file_is_corrupted(pca_model, tmp_path, name):
    pca_model.save(tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"model is corrupted.*Save the model again"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b"[]"), ("config.json", b"{}"), ("genes.txt", b""), ("arrays.npz", b"no zip at all")],
)
def test_other_content_is_corrupted(pca_model, tmp_path, name, content):
    pca_model.save(tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(ValueError, match="is corrupted"):
        load(tmp_path / "model")


def test_weights_of_another_model_do_not_fit(pca_model, rep_model, tmp_path):
    pca_model.save(tmp_path / "a")
    rep_model.save(tmp_path / "b")
    name = "arrays.npz"
    (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    with pytest.raises(ValueError, match="corrupted: its files do not fit together"):
        load(tmp_path / "b")


def test_a_pickle_in_the_arrays_is_refused(pca_model, tmp_path):
    pca_model.save(tmp_path / "model")
    np.savez(tmp_path / "model" / "arrays.npz", slope=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"is corrupted.*allow_pickle=False"):
        load(tmp_path / "model")


def test_a_class_from_the_future(pca_model, tmp_path):
    pca_model.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace(f'"{type(pca_model).__name__}"', '"SpaMask9"'))
    with pytest.raises(ValueError, match=r"holds a 'SpaMask9'.*known: .*SpaMask.*Update histoquilt"):
        load(tmp_path / "model")
