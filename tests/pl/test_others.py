"""Embedding, marker dot plot and training curve."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import histoquilt as hq


def test_embedding_colours_every_dot_by_its_domain(written_section):
    adata = written_section()
    ax = hq.pl.embedding(adata)
    dots = ax.collections[0]
    of = {tuple(xy): to_hex(c) for xy, c in zip(np.asarray(dots.get_offsets()), dots.get_facecolors(), strict=True)}
    colors = [*hq.pl.domain_palette(4), hq.pl.UNLABELLED]
    for xy, code in zip(adata.obsm["X_umap"], adata.obs["domain"].cat.codes, strict=True):
        assert of[tuple(xy)] == colors[code]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP 1", "UMAP 2")


def test_embedding_by_a_number_has_a_colour_bar(written_section):
    ax = hq.pl.embedding(written_section(), color="domain_confidence")
    assert ax.get_legend() is None
    assert ax.figure.axes[1].get_ylabel() == "domain_confidence"


def test_embedding_errors(written_section):
    adata = written_section()
    with pytest.raises(KeyError, match=r"'X_tsne' is not in adata.obsm.*tl.umap"):
        hq.pl.embedding(adata, "X_tsne")
    with pytest.raises(KeyError, match="color="):
        hq.pl.embedding(adata, color="nope")
    adata.obsm["X_one"] = np.zeros((adata.n_obs, 1))
    with pytest.raises(ValueError, match="two columns"):
        hq.pl.embedding(adata, "X_one")


def test_dotplot_lists_genes_in_domain_order_once_each(written_section):
    adata = written_section()
    shuffled = adata.uns["domain_markers"]
    adata.uns["domain_markers"] = shuffled.iloc[[6, 7, 0, 1, 2, 3, 4, 5]]  # the last domain's first
    ax = hq.pl.marker_dotplot(adata, n_genes=2)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["SYM0", "SYM4", "SYM1", "SYM2", "SYM3"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2", "3", "4"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # first domain on top


def test_dot_area_is_the_share_and_colour_the_mean(written_section):
    adata = written_section()
    ax = hq.pl.marker_dotplot(adata, n_genes=1, scale_genes=False)
    dots = ax.collections[0]
    counts = adata.X.toarray()
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    inside = (adata.obs["domain"] == "2").to_numpy()
    place = [tuple(xy) for xy in np.asarray(dots.get_offsets())].index((0, 1))  # gene of domain 1, row of domain 2
    np.testing.assert_allclose(dots.get_array()[place], logged[inside, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(dots.get_sizes()[place] / 130, (counts[inside, 0] > 0).mean())
    assert hq.pl.marker_dotplot(adata).collections[0].get_array().max() == pytest.approx(1)


def test_dotplot_without_markers(written_section):
    adata = written_section()
    del adata.uns["domain_markers"]
    with pytest.raises(KeyError, match=r"domain_markers\(adata\)"):
        hq.pl.marker_dotplot(adata)


def test_training_draws_one_line_per_run_and_the_change_on_a_log_axis(written_section):
    adata = written_section()
    recorded = adata.uns["histoquilt"]["spamask"]
    ax = hq.pl.training(adata)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), recorded["history"]["loss"])
    right = ax.figure.axes[1]
    assert right.get_yscale() == "log"
    np.testing.assert_array_equal(right.lines[0].get_xdata(), np.arange(2, 11))  # epoch 1 has no change
    assert ax.get_title() == "10 epochs, stopped when the embedding no longer changed"
    second = recorded["history"].assign(run=1)
    recorded["history"] = pd.concat([recorded["history"], second])
    assert len(hq.pl.training(adata).lines) == 2


def test_training_without_history(written_section):
    adata = written_section()
    del adata.uns["histoquilt"]["spamask"]["history"]
    with pytest.raises(KeyError, match=r"Train a network with histoquilt\.tl\.spatial_domains"):
        hq.pl.training(adata)
