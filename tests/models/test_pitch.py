"""The distance of neighbouring spots, which grids on bare slides and default fields are laid out with."""

import anndata as ad
import numpy as np
import pytest

import histoquilt as hq
from histoquilt.study import Section


def test_displaced_spots_train_the_pitch_of_bare_slides_and_the_fields():
    rng, sections = np.random.default_rng(0), {}
    for name in ("s1", "s2"):
        points = 200.0 * np.stack(np.meshgrid(np.arange(16), np.arange(6)), axis=-1).reshape(-1, 2) + rng.normal(
            0, 9, (96, 2)
        )
        adata = ad.AnnData(rng.poisson(2.0, (96, 12)).astype(np.float32), obsm={"spatial": points})
        adata.obsm["X_image"] = rng.normal(size=(96, 4)).astype(np.float32)
        hq.io.record_coordinates(adata, "micron")
        sections[name] = adata
    assert hq.im.default_fields(*(Section("s", adata).nominal_pitch_um for adata in sections.values()))[0] == 200.0
    model = hq.models.RidgeOnEmbedding().fit(sections, use_rep="X_image", progress=False)
    assert model.fitted.pitch_um == pytest.approx(200, rel=0.015)
