"""Counts that stay in their file: domains, markers and the page are those of counts in memory."""

import anndata
import pandas as pd
import pytest

from histoquilt import io
from histoquilt.datasets import toy_section
from histoquilt.draw._expression import raw_expression
from histoquilt.study.expression import _chunks
from histoquilt.tl import domain_markers, spatial_domains


@pytest.fixture
def both(tmp_path, monkeypatch):
    """A section in memory and in its file, read 250 spots at a time or fewer."""
    monkeypatch.setattr(_chunks, "_CHUNK_VALUES", 20_000)
    toy_section(n_spots=400, n_genes=80, n_domains=3, seed=0).write_h5ad(tmp_path / "toy.h5ad")
    return io.read_h5ad(tmp_path / "toy.h5ad"), io.read_h5ad(tmp_path / "toy.h5ad", backed=True)


def test_domains_and_markers_are_the_same(both, small_config, tmp_path, monkeypatch):
    for adata in both:
        spatial_domains(adata, 3, config=small_config, progress=False)
        domain_markers(adata)
    in_memory, in_file = both
    pd.testing.assert_frame_equal(in_file.obs, in_memory.obs)
    pd.testing.assert_frame_equal(in_file.uns["domain_markers"], in_memory.uns["domain_markers"])
    pd.testing.assert_frame_equal(in_file.obsm["denoised"], in_memory.obsm["denoised"])
    assert in_file.isbacked
    io.write_h5ad(in_file, tmp_path / "found.h5ad")
    written = anndata.read_h5ad(tmp_path / "found.h5ad")
    assert (written.X != in_memory.X).nnz == 0
    pd.testing.assert_frame_equal(written.obs, in_memory.obs, check_index_type=False, check_categorical=False)


def test_genes_are_read_off_the_file_a_few_spots_at_a_time(both, monkeypatch):
    in_memory, in_file = both
    monkeypatch.setattr("histoquilt.draw._expression._READ_SPOTS", 70)
    expected = raw_expression(in_memory, [5, 2])
    assert expected.max() > 1
    assert (raw_expression(in_file, [5, 2]) == expected).all()
