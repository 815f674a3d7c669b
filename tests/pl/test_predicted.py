import numpy as np
import pytest
from matplotlib.colors import to_hex

import histoquilt as hq


def colors_of(ax) -> np.ndarray:
    return np.asarray(ax.collections[0].get_array())


def test_genes_are_those_most_reliable_in_training_not_those_that_fit_best(predicted_section):
    adata = predicted_section()
    axes = hq.pl.measured_and_predicted(adata, n_genes=2)
    assert axes.shape == (2, 2)
    assert [ax.get_title().split(",")[0] for ax in axes[:, 0]] == ["SYM1", "SYM2"]
    adata.var["reliability"] = [0.0, 0.1, 0.2, 0.3, 0.9, 0.4]
    assert hq.pl.measured_and_predicted(adata, n_genes=1)[0, 0].get_title() == "SYM4, measured"


def test_title_holds_the_correlation_and_the_maps_hold_the_values(predicted_section):
    adata = predicted_section()
    left, right = hq.pl.measured_and_predicted(adata, "SYM3")[0]
    truth, guess = adata.layers["measured_log1p_cp10k"][:, 3], adata.layers["predicted_ridge"][:, 3]
    np.testing.assert_allclose(colors_of(left), truth)
    np.testing.assert_allclose(colors_of(right), guess)
    assert right.get_title() == f"SYM3, predicted, r = {np.corrcoef(truth, guess)[0, 1]:.2f}"
    assert right.collections[0].get_clim() == pytest.approx(np.percentile(guess, [1, 99]))
    shared = hq.pl.measured_and_predicted(adata, "SYM3", shared_scale=True)[0]
    assert shared[0].collections[0].get_clim() == shared[1].collections[0].get_clim()


def test_a_constant_prediction_has_no_correlation_and_says_so(predicted_section):
    axes = hq.pl.measured_and_predicted(predicted_section(), "SYM0")
    assert axes[0, 1].get_title() == "SYM0, predicted, r undefined"


def test_a_bare_slide_shows_the_prediction_alone(predicted_section):
    axes = hq.pl.measured_and_predicted(predicted_section(measured=False), ["SYM1", "SYM2", "SYM3"])
    assert axes.shape == (3, 1)
    assert axes[0, 0].get_title() == "SYM1, predicted"


def test_missing_predictions_and_methods_are_named(predicted_section, written_section):
    with pytest.raises(KeyError, match=r"holds no prediction .*predict\(section\)"):
        hq.pl.measured_and_predicted(written_section())
    adata = predicted_section()
    with pytest.raises(KeyError, match=r"No prediction of 'spahgc' .*'predicted_ridge'"):
        hq.pl.measured_and_predicted(adata, method="spahgc")
    adata.layers["predicted_knn"] = adata.layers["predicted_ridge"]
    assert hq.pl.measured_and_predicted(adata, "SYM1").shape == (1, 2)  # the one recorded
    del adata.uns["histoquilt"]["prediction"]
    with pytest.raises(KeyError, match=r"2 predictions: .*Pass method="):
        hq.pl.measured_and_predicted(adata, "SYM1")
    del adata.var["reliability"]
    with pytest.raises(KeyError, match=r"'reliability' is not in adata.var .*genes="):
        hq.pl.measured_and_predicted(adata, method="knn")


def test_reliability_is_drawn_from_best_to_worst_without_the_unknown(predicted_section):
    ax = hq.pl.reliability(predicted_section(), n_named=2)
    drawn = np.concatenate([one.get_offsets() for one in ax.collections])
    drawn = drawn[np.argsort(drawn[:, 0])]
    np.testing.assert_allclose(drawn[:, 1], [0.8, 0.6, 0.4, 0.2, 0.1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["better than the mean: 3", "not better: 2"]
    assert any(text.get_text() == "best: SYM1, SYM2" for text in ax.texts)
    unknown = predicted_section()
    unknown.var["reliability"] = np.nan
    with pytest.raises(ValueError, match="None of the 6 genes has a reliability"):
        hq.pl.reliability(unknown)


def test_spots_unlike_training_have_a_rim(predicted_section):
    adata = predicted_section()
    ax = hq.pl.out_of_distribution(adata)
    rims = [to_hex(edge) if edge[3] else None for edge in ax.collections[0].get_edgecolors()]
    assert [rim is not None for rim in rims] == adata.obs["out_of_distribution"].tolist()
    assert ax.get_title() == "9.7% of the spots unlike training"
    adata.uns["histoquilt"]["prediction"]["section_out_of_distribution_score"] = 1.4
    assert hq.pl.out_of_distribution(adata).get_title() == "The section as a whole is unlike training"
    del adata.obs["out_of_distribution_score"]
    with pytest.raises(KeyError, match=r"out_of_distribution_score.*The predict of an expression model"):
        hq.pl.out_of_distribution(adata)


def test_spots_beside_the_tissue_and_outside_the_image_are_told_apart():
    adata, slide = hq.datasets.toy_slide(n_spots=120, mpp=4)
    adata.obsm["spatial"][0] = (10, 10)  # glass
    adata.obsm["spatial"][1] = (-40, 50)
    found = hq.im.check_on_tissue(adata, slide, mpp=4)
    ax = hq.pl.spots_on_tissue(found)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    n_on = int(found.spots["on_tissue"].sum())
    assert labels == [f"on tissue: {n_on}", f"beside tissue: {119 - n_on}", "outside the image: 1"]
    assert ax.get_xlim()[0] < found.spots["x"].min()
    with pytest.raises(TypeError, match=r"check_on_tissue\(adata, slide"):
        hq.pl.spots_on_tissue(adata)
