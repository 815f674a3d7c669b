"""A prediction that would not fit is refused before it starts, with the number and what would fit."""

import re
from types import SimpleNamespace

import pytest

import histoquilt as hq
from histoquilt.models.expression import _prediction_memory
from histoquilt.models.expression._prediction_memory import bytes_to_predict


def fitted(n_genes, width):
    inputs = SimpleNamespace(widths=(width,), neighbours=True)
    return SimpleNamespace(inputs=inputs, genes=[f"G{number}" for number in range(n_genes)])


# bytes a spot on top of what was there before, by the method that took most; genes, columns, bytes; 50,000 spots
MEASURED = [(1000, 64, 21_205), (100, 512, 16_589), (500, 256, 12_584)]


@pytest.mark.parametrize(("n_genes", "width", "measured"), MEASURED)
def test_the_estimate_lies_above_measured_peaks(n_genes, width, measured):
    assert 1.0 < bytes_to_predict(50_000, fitted(n_genes, width), bare=False) / (50_000 * measured) < 1.4


@pytest.fixture(scope="module")
def study():
    return hq.datasets.toy_slides(3, 60, 20, 2, 0, mpp=2)


@pytest.fixture(scope="module")
def model(study):
    sections = {}
    for name, (adata, pixels) in list(study.items())[:2]:
        hq.im.embed_patches(adata, pixels, mpp=2, field_um=50, key_added="X_texture")
        sections[name] = adata
    return hq.models.RidgeOnEmbedding().fit(sections, use_rep="X_texture")


def test_a_slide_says_which_distance_of_spots_would_fit(study, model, monkeypatch):
    pixels = list(study.values())[2][1]
    needed = []
    monkeypatch.setattr(
        _prediction_memory, "bytes_to_predict", lambda n, *_, **__: needed.append(n) or 80_000_000 + n * 10_000_000
    )
    monkeypatch.setattr(_prediction_memory, "available_bytes", lambda: 300_000_000)
    patches = []
    monkeypatch.setattr(hq.im, "embed_patches", lambda *args, **kwargs: patches.append(args))
    with pytest.raises(ValueError, match=r"slide: predicting \d+ spots will take about .* GB of memory") as caught:
        model.predict(pixels, mpp=2)
    assert not patches
    assert "check_memory=False" in str(caught.value)
    fits = float(re.search(r"Spots that lie (\d+) um apart", str(caught.value))[1])
    monkeypatch.undo()
    assert model.predict(pixels, mpp=2, pitch_um=fits).n_obs < 25 < needed[0]


def test_a_section_is_refused_and_can_be_insisted_on(study, model, monkeypatch):
    adata, pixels = list(study.values())[2]
    hq.im.embed_patches(adata, pixels, mpp=2, field_um=50, key_added="X_texture")
    monkeypatch.setattr(_prediction_memory, "available_bytes", lambda: 1_000_000)
    with pytest.raises(ValueError, match=r"0\.1 GB of memory; 0\.001 GB is available\. Predict a part of its spots"):
        model.predict(adata)
    assert model.predict(adata, check_memory=False).n_obs == adata.n_obs
