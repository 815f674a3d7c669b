import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_hex
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import histoquilt as hq
from histoquilt.study import spot_pitch


def spots_of(ax):
    (spots,) = [artist for artist in ax.collections if isinstance(artist, EllipseCollection)]
    return spots


def bar_of(ax):
    return [artist for artist in ax.artists if isinstance(artist, AnchoredSizeBar)]


def names_in(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_spots_lie_where_they_were_measured_in_their_colours(written_section):
    adata = written_section()
    ax = hq.pl.domains(adata)
    spots = spots_of(ax)
    np.testing.assert_array_equal(spots.get_offsets(), adata.obsm["spatial"])
    colors = hq.pl.domain_palette(4)
    shown = [to_hex(color) for color in spots.get_facecolors()]
    assert shown[0] == hq.pl.UNLABELLED
    assert shown[1:] == [colors[int(name) - 1] for name in adata.obs["domain"].iloc[1:]]
    assert names_in(ax.get_legend()) == ["1", "2", "3", "4", "unlabelled"]


def test_x_runs_right_and_y_runs_down_over_an_image_in_spot_coordinates(written_section):
    ax = hq.pl.domains(written_section())
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < 200 < 750 < right
    assert top < 100 < 650 < bottom
    assert ax.get_aspect() == 1
    (image,) = ax.images
    assert image.get_extent() == [0, 900, 800, 0]  # 90 x 80 pixels at 0.1 pixels per unit


def test_larger_image_is_taken(written_section):
    adata = written_section()
    adata.uns["spatial"]["S1"]["images"]["hires"] = np.zeros((240, 270, 3))
    (image,) = hq.pl.domains(adata).images
    assert image.get_array().shape == (240, 270, 3)
    assert image.get_extent() == [0, 900, 800, 0]


def test_spot_diameter_comes_from_the_pitch_and_not_from_points(written_section):
    adata = written_section(image=False)
    _, (small, large) = plt.subplots(1, 2)
    hq.pl.domains(adata, ax=small)
    adata.obsm["spatial"] = adata.obsm["spatial"] * 10
    hq.pl.domains(adata, ax=large)
    np.testing.assert_allclose(spots_of(small).get_widths(), 48)
    np.testing.assert_allclose(spots_of(large).get_widths(), 480)
    assert (spots_of(hq.pl.domains(adata, size=7)).get_widths() == 7).all()


def test_pitch_survives_repeated_places(written_section):
    adata = written_section(image=False)
    adata.obsm["spatial"][:40] = adata.obsm["spatial"][40]
    np.testing.assert_allclose(spots_of(hq.pl.domains(adata)).get_widths(), 48)


def test_pitch_of_scattered_cells_is_that_of_a_grid_as_dense():
    points = np.random.default_rng(0).uniform(0, 100, (2500, 2))  # one cell on 4 square units
    assert 1.7 < spot_pitch(points) < 2.1


@pytest.mark.parametrize(("points", "pitch"), [([[5, 5]], 1), ([[0, 0], [3, 4]], 5), ([[0, 0], [2, 0], [0, 2]], 2)])
def test_pitch_of_a_few_spots(points, pitch):
    assert spot_pitch(np.array(points, dtype=float)) == pitch


def test_scale_bar_has_a_round_length_in_data_units(written_section):
    adata = written_section()
    (bar,) = bar_of(hq.pl.domains(adata))
    assert bar.txt_label.get_text() == "200 µm"  # the tissue is 550 units of 2 microns wide
    assert bar.size_bar.get_children()[0].get_width() == 100
    del adata.uns["histoquilt"]["coordinates"]["mpp"]
    assert not bar_of(hq.pl.domains(adata))
    adata.uns["histoquilt"]["coordinates"]["unit"] = "micron"
    (bar,) = bar_of(hq.pl.domains(adata))
    assert bar.txt_label.get_text() == "100 µm"


def test_image_can_be_left_out(written_section):
    assert not hq.pl.domains(written_section(), image=False).images
    assert not hq.pl.domains(written_section(image=False)).images


def test_image_of_the_right_library(written_section):
    adata = written_section(name="B")
    other = {"images": {"lowres": np.zeros((10, 10, 3))}, "scalefactors": {"tissue_lowres_scalef": 0.1}}
    adata.uns["spatial"] = {"A": other, **adata.uns["spatial"]}
    assert hq.pl.domains(adata).images[0].get_array().shape == (80, 90, 3)
    adata.obs["slide"] = "A"
    assert hq.pl.domains(adata, library_key="slide").images[0].get_array().shape == (10, 10, 3)
    del adata.obs["section"], adata.obs["slide"]  # nothing says which of the two it is
    with pytest.warns(UserWarning, match="images of 'A', 'B', and no column of obs names one of them"):
        assert not hq.pl.domains(adata).images


def test_many_spots_are_rasterised(written_section):
    assert not spots_of(hq.pl.domains(written_section())).get_rasterized()
    assert spots_of(hq.pl.domains(written_section(n_side=142, image=False))).get_rasterized()


def test_spots_smaller_than_a_pixel_leave_no_gaps_that_would_pale_the_colours(written_section, monkeypatch):
    pitch = 50
    apart = spots_of(hq.pl.domains(written_section(image=False)))
    assert apart.get_widths().max() < pitch
    monkeypatch.setattr("histoquilt.pl._figure.CLOSED_FROM", 100)
    closed = spots_of(hq.pl.domains(written_section(image=False)))
    assert closed.get_widths().min() > pitch
    asked = spots_of(hq.pl.domains(written_section(image=False), size=10))
    assert asked.get_widths().max() == pytest.approx(10)


def test_adata_is_only_read(written_section):
    adata = written_section()
    keys = set(adata.uns), set(adata.obs), set(adata.obsm)
    hq.pl.domains(adata)
    assert (set(adata.uns), set(adata.obs), set(adata.obsm)) == keys


def test_confidence_has_a_fixed_scale_and_grey_for_unknown(written_section):
    adata = written_section()
    adata.obs.loc[adata.obs_names[3], "domain_confidence"] = np.nan
    spots = spots_of(hq.pl.confidence(adata))
    assert spots.get_clim() == (0, 1)
    assert spots.get_array().mask.tolist() == [False] * 3 + [True] + [False] * 140
    assert to_hex(spots.get_cmap().get_bad()) == hq.pl.UNLABELLED


def test_grid_has_one_colour_per_domain_name(written_section):
    one, two = written_section(name="A"), written_section(name="B")
    two.obs["domain"] = two.obs["domain"].cat.remove_categories(["1"])
    axes = hq.pl.domains_grid([one, two])
    assert [ax.get_title() for ax in axes] == ["A", "B"]
    colors = [[to_hex(c) for c in spots_of(ax).get_facecolors()] for ax in axes]
    assert colors[0][-1] == colors[1][-1] == hq.pl.domain_palette(4)[3]
    assert [ax.get_legend() is None for ax in axes] == [True, False]
    assert names_in(axes[1].get_legend()) == ["1", "2", "3", "4", "unlabelled"]


def test_grid_splits_one_anndata_by_section(written_section):
    adata = written_section(image=False)
    adata.obs["section"] = ["left"] * 72 + ["right"] * 72
    axes = hq.pl.domains_grid(adata)
    assert [ax.get_title() for ax in axes] == ["left", "right"]
    assert [len(spots_of(ax).get_offsets()) for ax in axes] == [72, 72]


def test_sections_on_top_of_each_other_are_warned_about(written_section, recwarn):
    adata = written_section(image=False)
    adata.obs["section"] = ["left", "right"] * 72
    with pytest.warns(UserWarning, match=r"holds 2 sections.*on top of each other.*domains_grid"):
        hq.pl.domains(adata)
    adata.obs["section"] = ["left"] * 72 + ["right"] * 72  # one above the other, but apart
    recwarn.clear()
    hq.pl.domains(adata)
    assert not recwarn


def test_grid_splits_the_members_of_a_dict_too(written_section):
    adata = written_section(image=False)
    adata.obs["section"] = ["left"] * 72 + ["right"] * 72
    axes = hq.pl.domains_grid({"A": adata, "B": written_section()})
    assert [ax.get_title() for ax in axes] == ["A, left", "A, right", "B"]


def test_grid_of_five_has_two_rows_and_no_empty_frames(written_section):
    axes = hq.pl.domains_grid({f"s{i}": written_section(image=False) for i in range(5)})
    assert len(axes) == len(axes[0].figure.axes) == 5
    with pytest.raises(ValueError, match="no section"):
        hq.pl.domains_grid([])


@pytest.mark.parametrize(
    ("draw", "missing"),
    [
        (lambda a: hq.pl.domains(a, domain_key="leiden"), "'leiden' is not in adata.obs .*domain_key="),
        (lambda a: hq.pl.domains(a, spatial_key="xy"), "'xy' is not in adata.obsm .*spatial_key="),
        (lambda a: hq.pl.confidence(a, confidence_key="c"), "'c' is not in adata.obs .*confidence_key="),
        (lambda a: hq.pl.domains_grid(a, section_key="slide"), "'slide' is not in adata.obs .*section_key="),
        (lambda a: hq.pl.domains_grid(a, domain_key="leiden"), "'leiden' is not in adata.obs .*domain_key="),
    ],
)
def test_missing_keys_name_the_remedy(written_section, draw, missing):
    with pytest.raises(KeyError, match=missing):
        draw(written_section())


@pytest.mark.real_data
def test_real_visium_section_lies_on_its_image(data_dir):
    import anndata

    adata = anndata.read_h5ad(data_dir / "dlpfc" / "151673.h5ad")
    ax = hq.pl.domains(adata, domain_key="layer_guess")
    assert 130 < spots_of(ax).get_widths()[0] / 0.78 < 145  # 100 µm pitch, spot of 96 px stands for 65-70 µm
    left, right, bottom, top = ax.images[0].get_extent()
    x, y = adata.obsm["spatial"].T
    assert left < x.min() < x.max() < right
    assert top < y.min() < y.max() < bottom
    assert names_in(ax.get_legend())[-1] == "unlabelled"
