"""The image branch of mclSTExp on pixels: it learns, and says what it was not given."""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from anndata import AnnData

from histoquilt import im
from histoquilt.datasets import toy_slide
from histoquilt.models import MclSTExp, MclSTExpConfig, load
from histoquilt.models.expression._inner_validation import gene_correlations
from histoquilt.models.expression._targets import measure
from histoquilt.models.mclstexp._images import augment
from histoquilt.study import Section

TRAINABLE = MclSTExpConfig.trainable()


@pytest.fixture(scope="module")
def pieces() -> dict[str, AnnData]:
    """A toy slide cut in three, with the pixels around each spot."""
    adata, image = toy_slide(n_spots=300, n_genes=60, seed=0, mpp=2.0)
    im.cut_patches(adata, image, mpp=2.0, field_um=90.0, px=24)
    height = adata.obsm["spatial"][:, 1]
    part = np.digitize(height, np.quantile(height, [1 / 3, 2 / 3]))
    return {name: adata[part == number].copy() for number, name in enumerate(("upper", "middle", "lower"))}


def test_a_trained_image_branch_beats_its_untrained_self(pieces: dict[str, AnnData], tmp_path) -> None:
    train = {name: pieces[name] for name in ("upper", "lower")}
    scores, weights = {}, {}
    for n_epochs in (0, 24):
        config = MclSTExpConfig.trainable(max_epochs=n_epochs)
        model = MclSTExp(config).fit(train, use_rep="patches", seed=0)
        predicted = model.predict(pieces["middle"]).layers["predicted_mclstexp"]
        scores[n_epochs] = gene_correlations(measure(Section("s", pieces["middle"])).of(model.genes), predicted).mean()
        model.save(tmp_path / str(n_epochs))
        weights[n_epochs] = model.learnt.network.backbone.state_dict()
    assert scores[24] > scores[0] + 0.01
    moved = [name for name in weights[0] if not torch.equal(weights[0][name], weights[24][name])]
    assert set(weights[0]) - set(moved) <= {"mean", "std"}  # every weight has learnt; the constants have not
    back = load(tmp_path / "24").predict(pieces["middle"]).layers["predicted_mclstexp"]
    np.testing.assert_array_equal(back, predicted)


def test_a_bare_slide_is_cut_as_the_training_sections_were(pieces: dict[str, AnnData], tmp_path) -> None:
    config = replace(MclSTExpConfig.trainable(max_epochs=2), n_blocks=0, n_latent=8)
    model = MclSTExp(config).fit({name: pieces[name] for name in ("upper", "lower")}, use_rep="patches")
    model.save(tmp_path / "model")
    image = toy_slide(n_spots=300, n_genes=60, seed=0, mpp=2.0)[1]
    predicted = load(tmp_path / "model").predict(image, mpp=2.0, pitch_um=200.0)
    assert predicted.obsm["patches"].shape[1] == 3 * 24**2
    assert predicted.uns["histoquilt"]["prediction"]["stain_compared"]
    spots = im.grid_spots(image, mpp=2.0, pitch_um=200.0)
    im.cut_patches(spots, image, mpp=2.0, field_um=90.0, px=24)
    np.testing.assert_array_equal(model.predict(spots).layers["predicted_mclstexp"], predicted.X)
    # a slide scanned twice as coarse: the same field in microns, the same pixels to the network
    coarse = model.predict(np.ascontiguousarray(image[::2, ::2]), mpp=4.0, pitch_um=200.0)
    assert coarse.obsm["patches"].shape[1] == 3 * 24**2
    assert coarse.uns["histoquilt"]["patches"]["field_um"] == 90.0


def test_patches_of_another_size_or_field_are_not_predicted(pieces: dict[str, AnnData]) -> None:
    config = replace(MclSTExpConfig.trainable(max_epochs=1), n_blocks=0, n_latent=8)
    model = MclSTExp(config).fit({name: pieces[name] for name in ("upper", "lower")}, use_rep="patches")
    adata, image = toy_slide(n_spots=100, n_genes=60, seed=0, mpp=2.0)
    im.cut_patches(adata, image, mpp=2.0, field_um=90.0, px=16)
    with pytest.raises(ValueError, match=r"768 columns.*on 1,728. Cut patches with px=24, field_um=90 \(histoquilt.im"):
        model.predict(adata)
    im.cut_patches(adata, image, mpp=2.0, field_um=180.0, px=24)
    with pytest.raises(ValueError, match=r"fields of 180 um.*Cut patches again .* with px=24, field_um=90.0"):
        model.predict(adata)
    del adata.uns["histoquilt"]["patches"]
    by_hand = {name: pieces[name].copy() for name in ("upper", "lower")}
    for one in by_hand.values():
        del one.uns["histoquilt"]["patches"]
    model = MclSTExp(config).fit(by_hand, use_rep="patches")
    with pytest.raises(ValueError, match=r"not recorded \('patches'\).*or on pixels of histoquilt.im.cut_patches"):
        model.predict(image, mpp=2.0)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda pixels: pixels / 255, r"expected \(n_spots, 3 \* side \* side\) whole numbers"),
        (lambda pixels: pixels[:, :100], r"got \(\d+, 100\)"),
        (
            lambda pixels: pixels.astype(float) + 100,
            "from 0 to 255, got .* Put patches there with histoquilt.im.cut_patches",
        ),
        (lambda pixels: pixels.astype(float) - 100, "use image_branch='embedding'"),
    ],
    ids=["scaled", "no square", "too bright", "negative"],
)
def test_an_embedding_is_no_pixels(
    pieces: dict[str, AnnData], spoil: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    sections = {name: pieces[name].copy() for name in ("upper", "lower")}
    for adata in sections.values():
        adata.obsm["patches"] = spoil(adata.obsm["patches"])
    with pytest.raises(ValueError, match=words):
        MclSTExp(TRAINABLE).fit(sections, use_rep="patches")


@pytest.mark.filterwarnings("ignore:.*look unlike the tissue")
def test_a_network_of_timm_is_trained_too(pieces: dict[str, AnnData], torchvision_operators: None, tmp_path) -> None:
    config = replace(MclSTExpConfig.trainable("timm:resnet10t", max_epochs=1, pretrained=False), n_blocks=0, n_latent=8)
    some = {name: pieces[name][:40].copy() for name in ("upper", "lower", "middle")}
    held_out = some.pop("middle")
    model = MclSTExp(config).fit(some, use_rep="patches")
    model.save(tmp_path / "model")
    before, after = (one.predict(held_out).layers["predicted_mclstexp"] for one in (model, load(tmp_path / "model")))
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(before, after)


def test_timm_that_is_not_there_is_named(pieces: dict[str, AnnData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"image_branch='timm:densenet121' needs timm.*histoquilt\[timm\]"):
        MclSTExp(MclSTExpConfig.published()).fit({name: pieces[name] for name in ("upper", "lower")}, use_rep="patches")


def test_patches_are_turned_and_recoloured_and_nothing_else() -> None:
    patch = torch.arange(5 * 5 * 3, dtype=torch.uint8).reshape(1, 5, 5, 3).expand(64, 5, 5, 3)
    plain = augment(patch, replace(TRAINABLE, colour_jitter=0.0), torch.Generator().manual_seed(0))
    seen = {tuple(one.flatten().tolist()) for one in (255 * plain).round().int()}
    assert len(seen) == 8
    for one in seen:
        assert sorted(one) == list(range(75))
    jittered = augment(patch, replace(TRAINABLE, colour_jitter=0.2), torch.Generator().manual_seed(0))
    ratio = (jittered[:, 2, 2] / plain[:, 2, 2]).flatten()  # the middle stays where it is
    assert 0.8 <= ratio.min() < 0.85
    assert 1.15 < ratio.max() <= 1.2


def test_components_are_dropped_by_the_generator_alone() -> None:
    x = torch.ones(200, 50)
    first, again = (augment(x, MclSTExpConfig(), torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert first.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(augment(x, MclSTExpConfig(input_dropout=0.0), torch.Generator()), x)
