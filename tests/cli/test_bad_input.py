"""Every likely wrong input ends in one line that says what to do, before any work and with nothing written."""

import numpy as np
import pytest

from histoweave import tl


@pytest.fixture(autouse=True)
def no_work(monkeypatch, request):
    """A test here fails if the work is started."""

    def work(*arguments, **more):
        pytest.fail("the work was started on a bad input")

    if hasattr(tl, "spatial_domains"):
        monkeypatch.setattr(tl, "spatial_domains", work)


@pytest.fixture
def refuse_section(section, tmp_path, refused):
    """Write the section, run the command on it, return the line; nothing may be left behind."""

    def refuse(adata=section, *arguments, k=3):
        path = tmp_path / "bad.h5ad"
        adata.write_h5ad(path)
        line = refused("domains", path, "-k", k, "-o", tmp_path / "out", *arguments)
        assert "bad.h5ad" in line
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.h5ad"]
        return line

    return refuse


def test_missing_file(refused, tmp_path):
    line = refused("domains", tmp_path / "nowhere.h5ad", "-k", 3, "-o", tmp_path / "out")
    assert "nowhere.h5ad does not exist" in line
    assert "Check the path" in line


def test_truncated_h5ad(refused, section_file, tmp_path):
    whole = section_file.read_bytes()
    section_file.write_bytes(whole[: len(whole) // 2])
    line = refused("domains", section_file, "-k", 3, "-o", tmp_path / "out")
    assert "toy.h5ad" in line
    assert "truncated" in line
    assert "unexpected" not in line


def test_folder_that_is_no_visium_output(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").touch()
    line = refused("domains", tmp_path / "photos", "-k", 3, "-o", tmp_path / "out")
    assert "photos" in line
    assert "Space Ranger" in line
    assert "unexpected" not in line


def test_text_that_is_no_section(refused, tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    assert "notes.md" in refused("domains", tmp_path / "notes.md", "-k", 3, "-o", tmp_path / "out")


def test_no_coordinates(refuse_section, section):
    del section.obsm["spatial"]
    assert "'spatial' is not in adata.obsm" in refuse_section(section)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_not_finite(refuse_section, section, value):
    section.obsm["spatial"][3, 0] = value
    assert "1 of 240 spots have NaN or infinite coordinates" in refuse_section(section)


def test_all_coordinates_equal(refuse_section, section):
    section.obsm["spatial"][:] = 1.0
    assert "same coordinates" in refuse_section(section)


def test_log_transformed(refuse_section, section):
    section.X = section.X.log1p()
    section.uns = {}
    line = refuse_section(section)
    assert "X looks log-transformed" in line
    assert "layers['counts']" in line


def test_negative(refuse_section, section):
    section.X[5, 5] = -2.0
    section.uns = {}
    assert "negative" in refuse_section(section)


def test_all_zero(refuse_section, section):
    section.X.data[:] = 0
    section.uns = {}
    assert "all zero" in refuse_section(section)


def test_repeated_barcodes(refuse_section, section):
    names = section.obs_names.to_numpy().copy()
    names[1] = names[0]
    section.obs_names = names
    assert "must be unique" in refuse_section(section)


def test_fewer_spots_than_domains(refuse_section, section):
    assert "n_domains is 241, but there are only 240 spots" in refuse_section(section, k=241)


def test_one_spot(refuse_section, section):
    assert "only 1 spots" in refuse_section(section[:1].copy())


def test_no_domains(refused, section_file, tmp_path):
    assert "at least 1, got 0" in refused("domains", section_file, "-k", 0, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--use-rep", "'X_none' is not in adata.obsm"),
        ("--layer", "'X_none' is not in adata.layers"),
        ("--section-key", "'X_none' is not in adata.obs"),
        ("--spatial-key", "'X_none' is not in adata.obsm"),
    ],
)
def test_missing_key(refuse_section, section, option, words):
    line = refuse_section(section, option, "X_none")
    assert words in line
    assert f"ass {option}" in line  # the option, not the argument of the Python function


def test_two_sections_of_one_name(refused, section_file, tmp_path):
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / section_file.name
    twin.write_bytes(section_file.read_bytes())
    line = refused("domains", section_file, twin, "-k", 3, "-o", tmp_path / "out")
    assert "two inputs are both named 'toy'" in line


def test_a_bad_last_input_stops_before_the_first_is_worked_on(refused, section, section_file, tmp_path):
    section.obsm["spatial"][:] = 0
    section.write_h5ad(tmp_path / "bad.h5ad")
    line = refused("domains", section_file, tmp_path / "bad.h5ad", "-k", 3, "-o", tmp_path / "out", "-q")
    assert "bad.h5ad" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "quick.json"), ('{"n_layerz": 3}', "n_layerz"), ("[1]", "quick.json")],
    ids=["no JSON", "unknown field", "no object"],
)
def test_bad_config(refused, section_file, quick, tmp_path, text, words):
    quick.write_text(text)
    line = refused("domains", section_file, "-k", 3, "-o", tmp_path / "out", "--config", quick)
    assert words in line
    assert "unexpected" not in line


def test_missing_config(refused, section_file, tmp_path):
    line = refused("domains", section_file, "-k", 3, "-o", tmp_path / "out", "--config", tmp_path / "none.json")
    assert "none.json" in line
