import numpy as np
import pytest

import histoquilt as hq


def colored(ax):
    return ax.collections[0]


def test_raw_gene_is_log1p_of_counts_per_10000(written_section):
    adata = written_section()
    counts = adata.X.toarray()
    expected = np.log1p(counts[:, 1] / counts.sum(axis=1) * 1e4)
    ax = hq.pl.gene(adata, "SYM1")
    np.testing.assert_allclose(colored(ax).get_array(), expected, rtol=1e-5)
    assert colored(ax).get_clim() == pytest.approx((0, np.percentile(expected, 99)), rel=1e-5)
    assert ax.get_title() == "SYM1"


def test_gene_by_identifier_has_its_symbol_as_title(written_section):
    assert hq.pl.gene(written_section(), "ENSG00000000002").get_title() == "SYM2"


def test_declared_log_values_are_taken_as_they_are(written_section):
    adata = written_section()
    adata.layers["mine"] = adata.X.copy() * 0.5
    # nothing is declared for the layer yet
    with pytest.raises(ValueError, match="log1p_cp10k"):
        hq.pl.gene(adata, "SYM1", layer="mine")
    adata.uns["histoquilt"]["scale"]["mine"] = "log1p_cp10k"
    ax = hq.pl.gene(adata, "SYM1", layer="mine")
    np.testing.assert_allclose(colored(ax).get_array(), adata.X.toarray()[:, 1] * 0.5)


def test_counts_layer_comes_before_x(written_section):
    adata = written_section()
    expected = colored(hq.pl.gene(adata, "SYM1")).get_array()
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X * 0.1
    adata.uns["histoquilt"]["scale"] = {}
    np.testing.assert_allclose(colored(hq.pl.gene(adata, "SYM1")).get_array(), expected)


def test_spot_without_counts_and_gene_without_counts(written_section):
    adata = written_section()
    dense = adata.X.toarray()
    dense[5], dense[:, 2] = 0, 0
    adata.X = dense
    ax = hq.pl.gene(adata, "SYM2")
    assert not colored(ax).get_array().any()
    assert colored(ax).get_clim() == (0, 1)
    assert colored(hq.pl.gene(adata, "SYM1")).get_array()[5] == 0


def test_denoised_gene(written_section):
    adata = written_section()
    ax = hq.pl.gene(adata, "SYM1", denoised=True)
    np.testing.assert_allclose(colored(ax).get_array(), adata.obsm["denoised"]["ENSG00000000001"], rtol=1e-6)


def test_measured_beside_denoised(written_section):
    adata = written_section()
    axes = hq.pl.denoised(adata, ["SYM0", "SYM1"])
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes[1]] == ["SYM1, measured", "SYM1, denoised"]
    own = [colored(ax).get_clim()[1] for ax in axes[0]]
    assert own[0] > own[1]
    shared = [colored(ax).get_clim() for ax in hq.pl.denoised(adata, "SYM0", shared_scale=True)[0]]
    assert shared[0] == shared[1]


@pytest.mark.parametrize(
    ("spoil", "draw", "words"),
    [
        (None, lambda a: hq.pl.gene(a, "NOPE"), "'NOPE' is neither in adata.var_names"),
        (None, lambda a: hq.pl.gene(a, "SYM0", layer="raw"), "'raw' is not in adata.layers.*layer="),
        (lambda a: a.obsm.pop("denoised"), lambda a: hq.pl.denoised(a, "SYM0"), "denoise=True"),
        (
            lambda a: a.obsm.update(denoised=a.obsm["denoised"].iloc[:, 1:]),
            lambda a: hq.pl.denoised(a, "SYM0"),
            "'ENSG00000000000' not among the 5 denoised genes",
        ),
        (
            lambda a: a.obsm.update(denoised=a.obsm["denoised"].to_numpy()),
            lambda a: hq.pl.denoised(a, "SYM0"),
            "not a DataFrame",
        ),
        (lambda a: a.var.__setitem__("gene_symbol", "SYM0"), lambda a: hq.pl.gene(a, "SYM0"), "6 genes have the"),
    ],
)
def test_missing_genes_name_the_remedy(written_section, spoil, draw, words):
    adata = written_section()
    if spoil:
        spoil(adata)
    with pytest.raises(KeyError, match=words):
        draw(adata)
