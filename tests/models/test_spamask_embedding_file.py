"""An embedding that goes to a file by tiles is the one that is made in memory."""

from dataclasses import replace

import numpy as np
import pytest

from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig
from histoquilt.models.spamask import _model as _spamask

SMALL = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=30, max_epochs=4, tile_spots=100)


@pytest.fixture(scope="module")
def section():
    return toy_section(n_spots=600, n_genes=120, n_domains=4, seed=1)


@pytest.mark.parametrize("embedding", ["reconstruction", "latent"])
def test_tile_by_tile_it_is_the_same(section, embedding, tmp_path, monkeypatch):
    config = replace(SMALL, embedding=embedding, n_networks=2)
    model = SpaMask(config).fit(section, progress=False)
    expected = model.embed(section)
    monkeypatch.setattr(_spamask.FittedSpaMask, "run", None)  # which holds all of it
    found = model.embed(section, out=tmp_path / "folder" / "embedding.npy")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.load(tmp_path / "folder" / "embedding.npy"), expected)


def test_small_sections_and_those_with_offsets_go_there_too(tmp_path):
    stack = toy_section(n_spots=300, n_genes=120, n_domains=4, n_sections=2, seed=1)
    model = SpaMask(SMALL).fit(stack, section_key="section", progress=False)
    np.testing.assert_array_equal(model.embed(stack, out=tmp_path / "two.npy"), model.embed(stack))
    one = stack[(stack.obs["section"] == "s1").to_numpy()].copy()
    whole = SpaMask(replace(SMALL, tile_spots=None)).fit(one, progress=False)
    np.testing.assert_array_equal(whole.embed(one, out=tmp_path / "two.npy"), whole.embed(one))
    assert [path.name for path in tmp_path.iterdir()] == ["two.npy"]


def test_another_suffix_is_refused_before_any_work(section, tmp_path):
    with pytest.raises(ValueError, match=r"out= names the \.npy file .* got '.*embedding\.h5'"):
        SpaMask(SMALL).embed(section, out=tmp_path / "embedding.h5")
