"""Several sections: grids, the aligned stack, mixing before and after, the curve of the number of domains."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.colors import to_hex
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import histoquilt as hq


@pytest.fixture
def study(written_section):
    """Three sections, each with its own image and its own microns per pixel, the third without domain 1."""
    sections = {name: written_section(name=name) for name in "ABC"}
    for place, adata in enumerate(sections.values()):
        adata.uns["spatial"][next(iter(adata.uns["spatial"]))]["images"]["lowres"][:] = 80 * place
        adata.uns["histoquilt"]["coordinates"]["mpp"] = 2.0 if place < 2 else 4.0
    sections["C"] = sections["C"][(sections["C"].obs["domain"] != "1").to_numpy()].copy()
    joint = hq.io.concat_sections(sections)
    joint.obs["domain"] = joint.obs["domain"].astype("category")
    joint.obs["z_um"] = joint.obs["section"].map({"A": 20.0, "B": 0.0, "C": 10.0}).astype(float)
    joint.obsm["spatial_aligned"] = 2.0 * joint.obsm["spatial"]
    joint.obsm["spatial_aligned"][(joint.obs["section"] == "C").to_numpy()] += [500, 0]
    return joint


def spots_of(ax):
    (spots,) = [artist for artist in ax.collections if isinstance(artist, EllipseCollection)]
    return spots


def names_in(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_grid_of_a_study_takes_the_image_and_the_scale_of_each_section(study):
    axes = hq.pl.domains_grid(study)
    assert [ax.get_title() for ax in axes] == ["A", "B", "C"]
    assert [int(ax.images[0].get_array().max()) for ax in axes] == [0, 80, 160]
    bars = [next(artist for artist in ax.artists if isinstance(artist, AnchoredSizeBar)) for ax in axes]
    microns = [bar.txt_label.get_text() for bar in bars]
    assert microns == ["200 µm", "200 µm", "500 µm"]  # 550 units of 2, 2 and 4 microns
    assert [bar.size_bar.get_children()[0].get_width() for bar in bars] == [100, 100, 125]


def test_grid_of_a_study_has_the_colours_of_the_whole(study):
    study.uns["domain_colors"] = ["#112233", "#445566", "#778899", "#aabbcc"]
    axes = hq.pl.domains_grid(study)
    last = [to_hex(spots_of(ax).get_facecolors()[-1]) for ax in axes]
    assert last == ["#aabbcc"] * 3
    assert "#112233" not in {to_hex(color) for color in spots_of(axes[2]).get_facecolors()}
    assert names_in(axes[2].get_legend()) == ["1", "2", "3", "4", "unlabelled"]


def test_confidence_grid_has_one_scale_and_one_bar(study):
    axes = hq.pl.confidence_grid(study, n_columns=2, cmap="magma")
    assert [ax.get_title() for ax in axes] == ["A", "B", "C"]
    for ax, name in zip(axes, "ABC", strict=True):
        assert spots_of(ax).get_clim() == (0, 1)
        of_section = study.obs.loc[study.obs["section"] == name, "domain_confidence"]
        np.testing.assert_allclose(spots_of(ax).get_array(), of_section)
    (bar,) = set(axes[0].figure.axes) - set(axes)
    assert bar.get_ylabel() == "domain confidence"
    del study.obs["domain_confidence"]
    with pytest.raises(KeyError, match="confidence_key="):
        hq.pl.confidence_grid(study)


def test_stack_stands_in_order_of_z_in_one_frame(study):
    axes = hq.pl.aligned_stack(study)
    assert [ax.get_title() for ax in axes] == ["B, z 0 µm", "C, z 10 µm", "A, z 20 µm"]
    assert len({ax.get_xlim() for ax in axes}) == len({ax.get_ylim() for ax in axes}) == 1
    (left, right), (bottom, top) = axes[0].get_xlim(), axes[0].get_ylim()
    points = study.obsm["spatial_aligned"]
    assert left < points[:, 0].min() < points[:, 0].max() < right
    assert top < points[:, 1].min() < points[:, 1].max() < bottom  # y runs down
    for ax, name in zip(axes, "BCA", strict=True):
        np.testing.assert_array_equal(spots_of(ax).get_offsets(), points[(study.obs["section"] == name).to_numpy()])
        (bar,) = [artist for artist in ax.artists if isinstance(artist, AnchoredSizeBar)]
        width = int(bar.txt_label.get_text().split()[0])
        assert bar.size_bar.get_children()[0].get_width() == width  # aligned coordinates are microns
        assert not ax.images  # images lie where the spots were measured
    assert names_in(axes[2].get_legend()) == ["1", "2", "3", "4", "unlabelled"]


def test_every_section_of_the_stack_has_the_outline_of_the_first(study):
    axes = hq.pl.aligned_stack(study)
    first = study.obsm["spatial_aligned"][(study.obs["section"] == "B").to_numpy()]
    for ax in axes:
        (line,) = [artist for artist in ax.collections if not isinstance(artist, EllipseCollection)]
        (path,) = line.get_paths()
        (border,) = path.to_polygons(closed_only=False)  # one closed line: no gaps between the spots
        away = border.min(axis=0) - first.min(axis=0), border.max(axis=0) - first.max(axis=0)
        np.testing.assert_allclose(np.abs(away), 85, atol=15)  # pitch 100
    axes[0].figure.canvas.draw()


def test_stack_without_heights_stands_as_sections_come(study):
    study.obs.loc[study.obs["section"] == "C", "z_um"] = np.nan
    assert [ax.get_title() for ax in hq.pl.aligned_stack(study)] == ["A, z 20 µm", "B, z 0 µm", "C"]
    del study.obs["z_um"]
    assert [ax.get_title() for ax in hq.pl.aligned_stack(study)] == ["A", "B", "C"]


def test_stack_errors(study):
    with pytest.raises(KeyError, match="domain_key="):
        hq.pl.aligned_stack(study, domain_key="leiden")
    bare = study.copy()
    del bare.obs["section"]
    with pytest.raises(KeyError, match=r"sections cannot be distinguished. Pass section_key="):
        hq.pl.aligned_stack(bare)
    del study.obsm["spatial_aligned"]
    with pytest.raises(KeyError, match=r"'spatial_aligned' is not in adata.obsm \(found: .*tl.align_sections"):
        hq.pl.aligned_stack(study)


@pytest.fixture
def mixed(study):
    rows = [
        (embedding, sections, metric, value)
        for embedding, ilisi, clisi in [("before", 0.1, 0.9), ("harmony", 0.7, 0.85), ("histoquilt", 0.6, 0.95)]
        for sections, less in [("all", 0.0), ("A vs B", 0.05), ("A vs C", np.nan)]
        for metric, value in [("ilisi_scaled", ilisi - less), ("clisi_scaled", clisi - less), ("ilisi", 3 * ilisi + 1)]
    ]
    study.uns["histoquilt"]["mixing"] = pd.DataFrame(rows, columns=["embedding", "sections", "metric", "value"])
    return study


def dots_of(ax):
    """Where the dots are: for pairs, for all."""
    pairs, every = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
    return np.asarray(pairs.get_offsets()).tolist(), np.asarray(every.get_offsets()).tolist()


def test_mixing_puts_ilisi_beside_clisi_for_every_embedding(mixed):
    axes = hq.pl.mixing(mixed)
    assert [ax.get_title() for ax in axes] == ["sections mix (iLISI)", "domains stay apart (cLISI)"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["before", "harmony", "histoquilt"]
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # before is on top
    pairs, every = dots_of(axes[0])
    np.testing.assert_allclose(every, [[0.1, 0], [0.7, 1], [0.6, 2]])
    np.testing.assert_allclose(pairs, [[0.05, 0], [0.65, 1], [0.55, 2]])  # the missing pair has no dot
    np.testing.assert_allclose(dots_of(axes[1])[1], [[0.9, 0], [0.85, 1], [0.95, 2]])
    for ax in axes:
        low, high = ax.get_xlim()
        assert low < 0
        assert high > 1
    assert names_in(axes[1].get_legend()) == ["two sections", "all sections"]


def test_mixing_without_clisi_warns(mixed):
    table = mixed.uns["histoquilt"]["mixing"]
    with pytest.warns(UserWarning, match=r"without cLISI.*with domains"):
        (ax,) = hq.pl.mixing(mixed, metrics=["ilisi"])
    assert ax.get_xlim()[0] == 1
    mixed.uns["histoquilt"]["mixing"] = table[table["metric"] == "ilisi"]
    with pytest.raises(KeyError, match=r"None of 'ilisi_scaled', 'clisi_scaled' .*found: 'ilisi'.*metrics="):
        hq.pl.mixing(mixed)
    mixed.uns["histoquilt"]["mixing"] = table.drop(columns="metric")
    with pytest.raises(KeyError, match=r"No mixing table .*found: .*'mixing'.*integrate_sections"):
        hq.pl.mixing(mixed)


def test_mixing_of_a_table_read_back_from_a_file(mixed, tmp_path):
    import anndata

    mixed.write_h5ad(tmp_path / "joint.h5ad")
    again = hq.pl.mixing(anndata.read_h5ad(tmp_path / "joint.h5ad"))
    for ax, before in zip(again, hq.pl.mixing(mixed), strict=True):
        assert dots_of(ax) == dots_of(before)


def test_umaps_before_and_after_coloured_by_section(study):
    study.obsm["X_umap"] = np.random.default_rng(0).normal(size=(study.n_obs, 2))
    (only,) = hq.pl.mixing_umap(study)
    assert only.get_title() == "after"
    study.obsm["X_umap_before"] = study.obsm["X_umap"] + 10
    before, after = hq.pl.mixing_umap(study)
    assert [before.get_title(), after.get_title()] == ["before", "after"]
    assert before.get_legend() is None
    assert names_in(after.get_legend()) == ["A", "B", "C"]
    of = {tuple(np.asarray(xy)): to_hex(color) for xy, color in
          zip(before.collections[0].get_offsets(), before.collections[0].get_facecolors(), strict=True)}  # fmt: skip
    shown = [of[tuple(xy)] for xy in study.obsm["X_umap_before"]]
    assert shown == [hq.pl.domain_palette(3)[code] for code in study.obs["section"].cat.codes]
    with pytest.raises(KeyError, match=r"None of 'X_tsne' is in adata.obsm .*tl.umap\(adata\)"):
        hq.pl.mixing_umap(study, bases=["X_tsne"])
    with pytest.raises(KeyError, match="color="):
        hq.pl.mixing_umap(study, color="nope")


@pytest.fixture
def searched(written_section):
    adata = written_section()
    weakest, stable = [0.95, 0.9, 0.85, 0.4], [True, True, True, False]
    curve = {"n_domains": [2, 3, 4, 5], "stability": [0.8, 0.7, 0.9, 0.6], "sd": 0.05, "weakest": weakest}
    adata.uns["histoquilt"]["n_domains_curve"] = pd.DataFrame({**curve, "weakest_sd": 0.1, "stable": stable})
    return adata


def test_curve_marks_the_number_chosen_and_the_threshold(searched):
    ax = hq.pl.n_domains_curve(searched)
    level, (adjusted, weakest) = ax.lines[0], [bars.lines[0] for bars in ax.containers]
    assert set(level.get_ydata()) == {0.8}
    np.testing.assert_allclose(adjusted.get_xydata(), [[2, 0.8], [3, 0.7], [4, 0.9], [5, 0.6]])
    np.testing.assert_allclose(weakest.get_ydata(orig=False), [0.95, 0.9, 0.85, 0.4])
    (marked,) = [line for line in ax.lines if list(line.get_xdata()) == [4, 4]]
    assert list(marked.get_ydata()) == [0, 1]
    assert ax.get_title() == "4 domains chosen"
    assert ax.get_xticks().tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("record", "title"),
    [
        ({"n_domains": 5}, "5 domains given"),
        ({"n_domains": 5, "chosen": np.True_}, "5 domains chosen"),  # a file gives numpy's back
        ({"n_domains": 4, "chosen": False}, "4 domains given"),
        ({}, "4 domains is the largest stable number"),
    ],
)
def test_curve_tells_a_given_number_from_a_chosen_one(searched, record, title):
    searched.uns["histoquilt"]["domain"] = record
    assert hq.pl.n_domains_curve(searched).get_title() == title


def test_curve_of_the_mean_alone_and_no_curve(searched):
    ours = searched.uns["histoquilt"]
    ours["n_domains_curve"] = ours["n_domains_curve"][["n_domains", "stability", "sd"]].iloc[::-1]
    _, own = plt.subplots()
    ax = hq.pl.n_domains_curve(searched, ax=own)
    assert ax is own
    (bars,) = ax.containers
    assert bars.lines[0].get_xdata(orig=False).tolist() == [2, 3, 4, 5]
    del ours["n_domains_curve"]
    with pytest.raises(KeyError, match=r"No curve .*choose_n_domains\(adata\)"):
        hq.pl.n_domains_curve(searched)
