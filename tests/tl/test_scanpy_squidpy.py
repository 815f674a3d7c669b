"""What integration writes is read by scanpy and squidpy."""

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData

import histoquilt as hq


@pytest.fixture(scope="module")
def study() -> AnnData:
    """Two serial sections, integrated; functions get copies."""
    two = hq.datasets.toy_section(n_spots=300, n_genes=200, n_domains=4, n_sections=2, seed=0)
    return hq.tl.integrate_sections(two, 4, mixing=False, progress=False)


def test_squidpy_runs_neighbourhood_enrichment_on_a_study(study):
    """Spots of a domain lie together in the graph, which is that within sections."""
    squidpy = pytest.importorskip("squidpy")
    joint = study.copy()
    squidpy.gr.nhood_enrichment(joint, cluster_key="domain", n_perms=20, seed=0, show_progress_bar=False)
    z = joint.uns["domain_nhood_enrichment"]["zscore"]
    assert z.shape == (4, 4)
    assert (np.diag(z) > 3).all()


def test_squidpy_sees_sections_apart(study):
    """No edge joins two sections, so each is enriched in itself and depleted in the other."""
    squidpy = pytest.importorskip("squidpy")
    joint = study.copy()
    squidpy.gr.nhood_enrichment(joint, cluster_key="section", n_perms=20, seed=0, show_progress_bar=False)
    counts = joint.uns["section_nhood_enrichment"]["count"]
    assert counts[0, 1] == counts[1, 0] == 0
    assert (np.diag(counts) > 0).all()


def test_scanpy_runs_leiden_on_the_graph_of_a_study(study):
    pytest.importorskip("igraph")
    joint = study.copy()
    sc.tl.leiden(joint, neighbors_key="spatial_neighbors", flavor="igraph", n_iterations=2)
    sections = joint.obs.groupby("leiden", observed=True)["section"].nunique()
    assert len(sections) > 1
    assert (sections == 1).all()  # a patch of neighbours cannot reach into another section
