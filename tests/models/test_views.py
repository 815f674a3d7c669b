"""Training of mclSTExp draws from views of each patch, and from nothing else where there are none."""

import logging
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.models import MclSTExp, MclSTExpConfig, RidgeConfig, RidgeOnEmbedding
from histoquilt.models._image_components import Basis
from histoquilt.models.expression._inputs import ExpressionInputs, ImageSection
from histoquilt.models.mclstexp._images import ImageInputs
from histoquilt.models.mclstexp._training import Pairs

# trained to the end: choosing epoch 0 would hide that training differs
QUICK = MclSTExpConfig(n_latent=16, n_blocks=0, max_epochs=3, check_every=0, k=(10,), key="image", learning_rate=1e-3)


def with_views(study, key="X_image", n_views=4):
    """Views scattered around the embedding; the first is the embedding itself."""
    rng = np.random.default_rng(5)
    for adata in study.values():
        own = adata.obsm[key][:, None]
        scatter = rng.normal(0, 1, (own.shape[0], n_views, own.shape[2]))
        scatter[:, 0] = 0
        adata.obsm[f"{key}_views"] = (own + scatter).astype(np.float32)
    return study


def predicted(study, config=QUICK, **arguments):
    train = {name: adata for name, adata in study.items() if name != "s3"}
    model = MclSTExp(config).fit(train, **{"use_rep": "X_image", "seed": 1} | arguments)
    return model.predict(study["s3"]).layers["predicted_mclstexp"], model.history


def test_views_change_training_and_repeat_themselves(study):
    without, losses_without = predicted(study)
    with_views(study)
    first, losses = predicted(study)
    again, losses_again = predicted(study)
    np.testing.assert_array_equal(first, again)
    assert losses == losses_again
    assert losses != losses_without
    assert not np.array_equal(first, without)
    # views that are not wanted change nothing
    off, losses_off = predicted(study, replace(QUICK, use_views=False))
    np.testing.assert_array_equal(off, without)
    assert losses_off == losses_without


def test_views_of_a_held_out_section_are_never_looked_at(study):
    with_views(study)
    before, _ = predicted(study)
    study["s3"].obsm["X_image_views"][:] = np.nan
    np.testing.assert_array_equal(predicted(study)[0], before)


def test_one_view_of_each_spot_and_batch_is_drawn_by_the_generator():
    views = torch.arange(50 * 4).reshape(50, 4, 1).float()  # spot 4 i + view
    pairs = Pairs(torch.zeros(50, 1), None, torch.ones(50), views)
    batch = torch.arange(0, 50, 2).repeat(8)
    drawn, again = (pairs.draw(batch, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(drawn, again)
    assert torch.equal(drawn[:, 0].long() // 4, batch)
    assert torch.bincount(drawn[:, 0].long() % 4).min() > 30  # of 200; all four views are drawn alike
    assert Pairs(views[:, 0], None, torch.ones(50), None).draw(batch, None).equal(views[batch, 0])


@pytest.mark.parametrize("own", [True, False])
def test_a_view_moves_a_spot_alone_by_the_moments_of_its_section(own):
    rng = np.random.default_rng(0)
    rep = rng.normal(2, 3, (30, 3)).astype(np.float32)
    views = rng.normal(2, 3, (30, 2, 3)).astype(np.float32)
    views[:, 0] = rep
    near = csr_matrix((30, 30), dtype=np.float32)  # a spot without neighbours is its own
    inputs = ExpressionInputs(("a",), ({},), (3,), True, own, np.ones(6, np.float32), np.full(6, 2, np.float32))
    x = inputs.standardise((rep,), near)
    moved = inputs.standardise_views((views,), (rep,))
    section = ImageSection("s", "s", (rep,), x, None, near, views=moved, own_moments=own)
    basis = Basis.fit([section], own=False)
    scores = ImageInputs(basis).views_of(section)
    np.testing.assert_allclose(scores[:, 0], basis.scores(x), rtol=1e-5, atol=1e-6)
    by_training, trust = (rep - 1) / 2, 30 / 50
    spread = np.sqrt(trust * by_training.var(axis=0) + 1 - trust)
    expected = ((views[:, 1] - 1) / 2 - trust * by_training.mean(axis=0)) / spread if own else (views[:, 1] - 1) / 2
    np.testing.assert_allclose(moved[:, 1], expected, rtol=1e-4, atol=1e-5)
    turned = np.hstack([expected, x[:, 3:]])
    np.testing.assert_allclose(scores[:, 1], basis.scores(turned), rtol=1e-3, atol=1e-4)


def test_an_embedding_without_views_stands_as_it_is_beside_one_with(study):
    with_views(study)
    both = ["X_image", "X_wide"]
    mixed, _ = predicted(study, use_rep=both)
    for adata in study.values():
        adata.obsm["X_wide_views"] = np.repeat(adata.obsm["X_wide"][:, None], 4, axis=1)
    np.testing.assert_array_equal(predicted(study, use_rep=both)[0], mixed)


def test_views_of_real_patches_survive_a_file(tmp_path):
    adata, image = hq.datasets.toy_slide(n_spots=160, n_genes=20, seed=0, mpp=4.0)
    hq.im.embed_patches(adata, image, mpp=4.0, field_um=224.0, progress=False)
    adata.obsm["X_he_texture_views"] = hq.im.embed_views(adata, image, mpp=4.0, field_um=224, n_views=3, progress=False)
    adata.write_h5ad(tmp_path / "toy.h5ad")
    back = ad.read_h5ad(tmp_path / "toy.h5ad")
    np.testing.assert_array_equal(back.obsm["X_he_texture_views"], adata.obsm["X_he_texture_views"])
    assert back.obsm["X_he_texture_views"].shape[:2] == (160, 3)
    left = adata.obsm["spatial"][:, 0] < np.median(adata.obsm["spatial"][:, 0])
    config = replace(QUICK, max_epochs=1)
    halves, halves_back = ({"left": one[left].copy(), "right": one[~left].copy()} for one in (adata, back))
    first, second = (MclSTExp(config).fit(some) for some in (halves, halves_back))
    assert first.history == second.history
    assert first.training_facts["n_views"] == 3
    assert first.training_facts["encoders"].keys() == {"X_he_texture"}  # views are no embedding of their own
    third = MclSTExp(config).fit(hq.io.concat_sections(halves), use_rep="X_he_texture")
    assert third.history == first.history
    assert MclSTExp(replace(config, use_views=False)).fit(halves).history != first.history


def test_views_in_some_sections_only_are_left_alone(study, caplog):
    without, _ = predicted(study)
    with_views(study)
    del study["s1"].obsm["X_image_views"]
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        np.testing.assert_array_equal(predicted(study)[0], without)
    assert "section s1 has no obsm['X_image_views'], others have" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda views: views[:, :3], r"section 's1' must be \(n_spots, 4, 6\).*got \(64, 3, 6\)"),
        (lambda views: views[..., :5], r"must be \(n_spots, 4, 6\).*got \(64, 4, 5\)\. Make both with one encoder"),
        (lambda views: views.reshape(64, -1), r"got \(64, 24\)"),
        (lambda views: np.where(views > 3, np.nan, views), "'X_image_views'.*NaN or infinite values. Embed the views"),
    ],
    ids=["number", "width", "flat", "nan"],
)
def test_views_of_another_shape_are_refused(study, spoil, words):
    with_views(study)
    study["s1"].obsm["X_image_views"] = spoil(study["s1"].obsm["X_image_views"])
    with pytest.raises(ValueError, match=words):
        predicted(study)
    RidgeOnEmbedding(RidgeConfig.plain()).fit(study, use_rep="X_image")  # which has no use for views
