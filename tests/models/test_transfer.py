"""Transfer of a section: the share of its feature variance in the leading training components."""

import anndata as ad
import numpy as np
import pytest
from PIL import Image

import histoquilt as hq
from histoquilt.models import MeanExpression, ReducedRankRidge, RidgeOnEmbedding, load
from histoquilt.models.expression.unlike._transfer import Transfer, TransferMeasure
from histoquilt.report import write_prediction_report

N_FEATURES, N_LATENT = 150, 80


def tissue(kind: int = 0, seed: int = 0, n_spots: int = 120) -> np.ndarray:
    """Features in which 80 latent variables of decreasing size are mixed as in tissue of this kind."""
    mixing = np.random.default_rng(kind).normal(size=(N_LATENT, N_FEATURES)) * np.geomspace(1, 0.05, N_LATENT)[:, None]
    rng = np.random.default_rng(100 + seed)
    return (rng.normal(size=(n_spots, N_LATENT)) @ mixing + 0.2 * rng.normal(size=(n_spots, N_FEATURES))).astype("f4")


def another_scanner(x: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(9)
    return (x * rng.uniform(0.5, 2, N_FEATURES) + rng.normal(0, 5, N_FEATURES)).astype("f4")


def section(x: np.ndarray, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(rng.poisson(np.exp(1 + 0.3 * x[:, :10])).astype("f4"))
    adata.obs_names = [f"{seed}-{i}" for i in range(len(x))]
    adata.obsm["spatial"] = rng.uniform(0, 4000, (len(x), 2))
    hq.io.record_coordinates(adata, "micron")
    adata.obsm["X_image"] = x
    return adata


@pytest.fixture(scope="module")
def two_sections():
    return {name: section(tissue(seed=i), i) for i, name in enumerate("ab")}


def test_shares_by_hand():
    # four spots in two of three dimensions; half of the variance of the last is in the third
    flat = np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0.0]] * 10)
    other = np.array([[1, 0, 1], [-1, 0, -1], [1, 0, -1], [-1, 0, 1.0]] * 10)
    measure = TransferMeasure.fit([flat, flat].__getitem__, ["a", "b"])
    np.testing.assert_allclose(measure.left_out, 1)
    found = measure.measure(other)
    assert found.share == pytest.approx(0.5)
    assert (found.left_out, found.limit) == (pytest.approx((1, 1)), pytest.approx(0.95))
    assert not found.transfers
    assert found.record() == {
        "transfer_share": found.share, "transfer_left_out": list(found.left_out), "transfer_limit": found.limit,
        "transfers": False,
    }  # fmt: skip


def test_the_margin_is_the_larger_of_the_range_and_a_twentieth():
    axes = np.eye(3, 1)
    x = np.eye(3)[np.arange(30) % 3]
    assert TransferMeasure(axes, np.array([0.5, 0.51])).measure(x).limit == pytest.approx(0.475)
    assert TransferMeasure(axes, np.array([0.5, 0.6])).measure(x).limit == pytest.approx(0.4)


def test_few_spots_and_constant_features_are_not_judged():
    measure = TransferMeasure.fit([tissue(seed=i) for i in range(2)].__getitem__, ["a", "b"])
    for x in (tissue(1, n_spots=19), np.zeros((50, N_FEATURES))):
        found = measure.measure(x)
        assert np.isnan(found.share)
        assert not found.judged
        assert found.record() == {}
    assert not Transfer(np.nan, (np.nan, np.nan), np.nan).judged


def test_a_section_of_few_spots_says_that_it_was_not_judged(two_sections, caplog, tmp_path):
    model = MeanExpression().fit(two_sections, use_rep="X_image")
    with caplog.at_level("INFO", "histoquilt"):
        small = model.predict(section(tissue(seed=5, n_spots=19)))
    assert "section: not judged whether reliability transfers to this section" in caplog.text
    assert "reliability_transfers" not in small.var
    assert "transfers" not in small.uns["histoquilt"]["prediction"]
    write_prediction_report(tmp_path / "page.html", {"small": small, "like": model.predict(section(tissue(seed=5)))})
    page = (tmp_path / "page.html").read_text()
    assert page.count("Not judged whether reliability transfers to this section: too few spots.") == 1
    assert "Not transferable" not in page


@pytest.mark.filterwarnings("ignore:.*looks unlike the tissue")
def test_foreign_tissue_comes_out_and_another_scanner_does_not(two_sections, tmp_path):
    model = ReducedRankRidge().fit(two_sections, use_rep="X_image")
    model.save(tmp_path / "model")
    like = load(tmp_path / "model").predict(section(tissue(seed=5)))
    scanned = model.predict(section(another_scanner(tissue(seed=5))))
    with pytest.warns(UserWarning, match=r"section: the image features vary differently .*do not apply to this"):
        foreign = model.predict(section(tissue(kind=1, seed=5)))
    for predicted, expected in ((like, True), (scanned, True), (foreign, False)):
        record = predicted.uns["histoquilt"]["prediction"]
        assert record["transfers"] is expected
        assert (record["transfer_share"] >= record["transfer_limit"]) is expected
        assert (predicted.var["reliability_transfers"] == expected).all()
        np.testing.assert_array_equal(predicted.var["reliability"], like.var["reliability"])  # of training
        claimed = predicted.var["reliability_adjusted"]
        assert (claimed == (like.var["reliability_adjusted"] if expected else 0)).all()
        assert ("do not apply" in record.get("caution", "")) is not expected
    low, high = like.uns["histoquilt"]["prediction"]["transfer_left_out"]
    assert low <= high
    foreign.write_h5ad(tmp_path / "foreign.h5ad")
    assert not ad.read_h5ad(tmp_path / "foreign.h5ad").uns["histoquilt"]["prediction"]["transfers"]


def test_a_section_that_was_left_out_transfers():
    sections = {name: section(tissue(seed=i), i) for i, name in enumerate("abc")}
    for name in sections:
        others = {other: adata for other, adata in sections.items() if other != name}
        record = MeanExpression().fit(others, use_rep="X_image").predict(sections[name]).uns["histoquilt"]["prediction"]
        assert record["transfers"]


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")
def test_a_foreign_tumour_photographed_coarsely_does_not_transfer(her2st_half, data_dir):
    fields = [200.0, 400.0]
    sections = {}
    for name in ("C2", "C3", "C4"):
        adata, image = her2st_half(name)
        mpp = hq.io.estimate_mpp(adata, pitch_um=200.0)
        hq.io.record_coordinates(adata, "pixel", mpp=mpp)
        hq.im.embed_patches(adata, image, mpp=mpp, field_um=fields, progress=False)
        sections[name] = adata
    foreign = ad.read_h5ad(data_dir / "her2st_a2" / "A2.h5ad")
    hq.io.record_coordinates(foreign, "pixel", mpp=3.2)
    image = np.asarray(Image.open(data_dir / "her2st_a2" / "A2.png").convert("RGB"))
    hq.im.embed_patches(foreign, image, mpp=3.2, field_um=fields, progress=False)
    like = sections.pop("C4")
    model = RidgeOnEmbedding().fit(sections, n_genes=20)
    predicted = [model.predict(adata) for adata in (like, foreign)]
    found = [one.uns["histoquilt"]["prediction"] for one in predicted]
    assert [record["transfers"] for record in found] == [True, False], found
    claims = [one.var["reliability_adjusted"].median() for one in predicted]
    assert claims[0] > 0.1
    assert claims[1] == 0
