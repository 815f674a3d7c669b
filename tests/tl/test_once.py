"""What is made of a section is made once in a call."""

import warnings
from collections import Counter

import pytest

import histoquilt as hq
from histoquilt.gr import _adjacency, _neighbors, _sections
from histoquilt.models.domains import _features
from histoquilt.study.expression import _source


@pytest.fixture
def counted(monkeypatch):
    """Count graphs of a section, links, fits of features, checks of a count matrix, and filters on warnings."""
    calls = Counter()

    def count(module, name, as_name):
        original = getattr(module, name)

        def counting(*arguments, **options):
            calls[as_name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counting)

    for name in ("knn_adjacency", "grid_adjacency", "radius_adjacency"):
        count(_neighbors, name, "graphs")
    count(_adjacency, "cKDTree", "searches")
    count(_sections, "_symmetric_ones", "links")
    count(_source, "_check_values", "checked")
    original = _features.GeneFeatures.fit.__func__

    def fit(cls, *arguments, **options):
        calls["features"] += 1
        return original(cls, *arguments, **options)

    monkeypatch.setattr(_features.GeneFeatures, "fit", classmethod(fit))
    return calls


def stack(n_sections: int):
    return hq.datasets.toy_section(n_spots=150 * n_sections, n_genes=120, n_domains=3, n_sections=n_sections, seed=0)


def test_one_section_has_one_graph_and_its_features_once(counted):
    hq.tl.spatial_domains(stack(1), 3, progress=False)
    assert counted == {"graphs": 1, "searches": 1, "features": 1, "checked": 1}


@pytest.mark.parametrize("links", ["expression", "none"])
def test_four_sections_have_a_graph_each_links_and_their_features_once(counted, links):
    sections = hq.io.split_sections(stack(4))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        hq.tl.integrate_sections(sections, 3, links=links, mixing=False, progress=False)
    assert counted["graphs"] == 4
    assert counted["links"] == (links != "none")
    assert counted["features"] == 1
    assert counted["checked"] <= 2
    assert len({str(one.message) for one in told}) == len(told)  # nothing is said twice


def test_the_verbs_silence_no_warning_of_their_own():
    from pathlib import Path

    for name in ("_integrate.py", "_domains.py", "_domains_of_model.py"):
        text = (Path(hq.tl.__file__).parent / name).read_text()
        assert "catch_warnings" not in text, name
