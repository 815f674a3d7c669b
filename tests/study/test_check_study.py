"""What keeps sections from being analysed together is said before any work."""

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq


def section(genes=20, unit=None, first_gene=0, **obs) -> AnnData:
    names = [f"GENE{first_gene + i}" for i in range(genes)] if isinstance(genes, int) else genes
    adata = AnnData(
        np.ones((4, len(names)), np.float32),
        obs=pd.DataFrame(obs, index=[f"spot{i}" for i in range(4)]),
        var=pd.DataFrame(index=names),
        obsm={"spatial": np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]])},
    )
    if unit:
        hq.io.record_coordinates(adata, unit)
    return adata


def test_shared_genes_in_the_order_of_the_first():
    a, b = section(["D", "A", "B", "C"]), section(["C", "X", "B", "D"])
    assert hq.io.check_study({"a": a, "b": b}) == ["D", "B", "C"]


def test_sections_without_genes_may_carry_embeddings():
    assert hq.io.check_study({"a": section(0), "b": section(0)}) == []


def test_disjoint_genes_are_an_error_with_numbers():
    with pytest.raises(ValueError, match=r"together share 0 genes \(they have: 'a' 20, 'b' 30\); at least 10%"):
        hq.io.check_study({"a": section(20), "b": section(30, first_gene=100)})
    with pytest.raises(ValueError, match="share 0 genes"):
        hq.io.check_study({"a": section(20), "b": section(0)})


def test_genes_named_in_two_ways_are_told():
    ensembl = section([f"ENSG{i:011}" for i in range(20)])
    with pytest.raises(ValueError, match=r"named differently \(symbol: 'a'; ensembl: 'b'\).*var\['gene_id'\]"):
        hq.io.check_study({"a": section(20), "b": ensembl})


def test_the_one_section_that_does_not_fit_is_named():
    odd = section(20, first_gene=18)
    with pytest.raises(ValueError, match="Without 'c' the others share 20: leave it out"):
        hq.io.check_study({"a": section(20), "b": section(20), "c": odd})


def test_few_shared_genes_are_a_warning():
    with pytest.warns(UserWarning, match=r"share 8 genes, 40% of the smallest .* comparable panels"):
        assert len(hq.io.check_study({"a": section(20), "b": section(20, first_gene=12)})) == 8


def test_a_panel_beside_a_transcriptome_is_fine(recwarn):
    assert len(hq.io.check_study({"a": section(20), "b": section(500)})) == 20
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes():
    with pytest.raises(ValueError, match="Section 'a': gene names must be unique; repeated: 'A'"):
        hq.io.check_study({"a": section(["A", "A"])})


def test_pixels_against_microns():
    study = {"a": section(unit="pixel"), "b": section(unit="micron"), "c": section(unit="pixel")}
    with pytest.raises(ValueError, match=r"different units \(pixel: 'a', 'c'; micron: 'b'\).*record_coordinates"):
        hq.io.check_study(study)


def test_undeclared_units_are_said_not_guessed(caplog):
    with caplog.at_level(logging.INFO, "histoquilt"):
        hq.io.check_study({"a": section(unit="pixel"), "b": section()})
    assert "Coordinates of 'b' are of unknown unit, those of the others in pixel." in caplog.text


@pytest.mark.parametrize("column", ["z_um", "x_um"])
def test_places_for_some_sections_only(column):
    places = {"z_um": {"z_um": 0.0}, "x_um": {"x_um": 0.0, "y_um": 5.0}}[column]
    with pytest.raises(ValueError, match=f"{column} is given for 1 of 3 sections, and missing for 'b', 'c'"):
        hq.io.check_study({"a": section(**places), "b": section(), "c": section()})


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"z_um": [0.0, 0, 10, 10]}, r"Section 'a': obs\['z_um'\] .* one number; found 2 from 0 to 10"),
        ({"z_um": [0.0, 0, 0, np.nan]}, r"Section 'a': obs\['z_um'\] must hold microns; some values are missing"),
        ({"z_um": "deep"}, "must hold microns"),
        ({"x_um": 0.0}, "Of x_um and y_um only one is given"),
    ],
)
def test_places_that_are_none(places, words):
    with pytest.raises(ValueError, match=words):
        hq.io.check_study({"a": section(**places)})


def test_names():
    with pytest.raises(ValueError, match="Section names must be unique; repeated: '1'"):
        hq.io.check_study({"1": section(), 1: section()})
    with pytest.raises(ValueError, match="cannot be empty or hold a slash: 'a/b'"):
        hq.io.check_study({"a/b": section()})


def test_no_study():
    with pytest.raises(TypeError, match=r"dict from section name to AnnData, got AnnData.*split_sections"):
        hq.io.check_study(section())
    with pytest.raises(ValueError, match="There is no section"):
        hq.io.check_study({})


def test_errors_of_one_section_name_it():
    bare = section()
    del bare.obsm["spatial"]
    with pytest.raises(KeyError, match=r"Section 'b': 'spatial' is not in adata.obsm"):
        hq.io.check_study({"a": section(), "b": bare})
    with pytest.raises(TypeError, match="Section 'b': Expected an AnnData, got int"):
        hq.io.check_study({"a": section(), "b": 3})
