"""Several sections in one AnnData are found by their places, whatever the column is called; one tissue passes."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq


def square(n_side=12, pitch=100.0, shift=(0.0, 0.0)):
    grid = np.stack(np.meshgrid(np.arange(n_side), np.arange(n_side)), axis=-1).reshape(-1, 2)
    return grid * pitch + shift


def hexagons(n_side=12, pitch=100.0, shift=(0.0, 0.0)):
    places = square(n_side, 1.0)
    places[:, 0] += 0.5 * (places[:, 1] % 2)
    return places * [pitch, pitch * np.sqrt(0.75)] + shift


def scattered(n=150, seed=0, shift=(0.0, 0.0)):
    return np.random.default_rng(seed).uniform(0, 1000, (n, 2)) + shift


def joined(*places, column="library_id", names=("P1", "P2", "P3"), suffix=False):
    parts = [
        AnnData(obs=pd.DataFrame(index=[f"spot{i}" for i in range(len(one))]), obsm={"spatial": np.asarray(one)})
        for one in places
    ]
    both = ad.concat(dict(zip(names, parts, strict=False)), label=column, index_unique="-")
    if not suffix:
        both.obs_names = [f"s{i}" for i in range(both.n_obs)]
    return both


@pytest.mark.parametrize(
    "places",
    [
        (square(), square(shift=(30, 20))),
        (square(), square()),  # array positions, the same in both
        (square(), square(shift=(50, 50))),  # together they are a lattice again
        (hexagons(), hexagons(shift=(3, 1)), hexagons(shift=(40, 10))),
        (hexagons(), square(n_side=6, pitch=130, shift=(15, 5))),
        (square(), square(shift=(1030, 20))),  # the frames overlap in one row
        (scattered(), scattered(seed=1)),
        (scattered(400), scattered(40, seed=1)),
    ],
    ids=["square", "same places", "half a pitch", "three", "two platforms", "in part", "cells", "few of one"],
)
@pytest.mark.parametrize("column", ["library_id", "batch", "SampleName", "orig.ident", "donor_id", "slide"])
def test_sections_in_one_frame_are_found_by_the_name_of_the_column(places, column):
    if len(places[1]) == 144 and places[1][:, 0].min() > 1000:
        places = (places[0], places[1] - [100, 0])
    with pytest.raises(ValueError, match=rf"obs\['{column}'\] names {len(places)} \('P1', 'P2'.*split_sections"):
        hq.io.check_one_section(joined(*places, column=column))


@pytest.mark.parametrize("names", [("a", "b"), (0, 1), (0.0, 10.0)], ids=["text", "whole numbers", "z"])
@pytest.mark.parametrize("as_type", [None, "category", object])
def test_on_lattices_any_column_that_parts_them_is_named(names, as_type):
    both = joined(hexagons(), hexagons(shift=(30, 20)), column="who", names=names)
    both.obs["who"] = both.obs["who"].astype(type(names[0])).astype(as_type or type(names[0]))
    both.obs["domain"] = np.where(both.obsm["spatial"][:, 0] > 500, "in", "out")
    with pytest.raises(ValueError, match=r"obs\['who'\] names 2"):
        hq.io.check_one_section(both)


def test_ends_of_barcodes_give_sections_away_with_and_without_a_column():
    both = joined(scattered(), scattered(seed=1), column="tissue_block", suffix=True)
    with pytest.raises(ValueError, match=r"obs\['tissue_block'\] names 2 \('P1', 'P2'\)"):
        hq.io.check_one_section(both)
    del both.obs["tissue_block"]
    with pytest.raises(ValueError, match=r"spot names end in '-P1', '-P2'.*rsplit\('-', n=1\)"):
        hq.io.check_one_section(both)


def test_stacked_slices_are_found_whatever_their_z():
    both = joined(scattered(), scattered(seed=1), scattered(seed=2), column="slice")
    both.obsm["spatial"] = np.column_stack([both.obsm["spatial"], 10.0 * both.obs["slice"].cat.codes])
    with pytest.raises(ValueError, match=r"obs\['slice'\] names 3"):
        hq.io.check_one_section(both)


def test_the_finest_column_of_sections_is_named():
    both = joined(scattered(), scattered(seed=1), scattered(seed=2))
    both.obs["patient"] = both.obs["library_id"].map({"P1": "A", "P2": "A", "P3": "B"})
    with pytest.raises(ValueError, match="library_id"):
        hq.io.check_one_section(both)


def test_a_large_section_is_looked_at_in_windows():
    both = joined(scattered(15_000), scattered(15_000, seed=1), column="sample")
    with pytest.raises(ValueError, match=r"obs\['sample'\]"):
        hq.io.check_one_section(both)
    both.obs["sample"] = np.where(both.obsm["spatial"][:, 0] > 500, "right", "left")
    hq.io.check_one_section(both)


@pytest.mark.parametrize("places", [square(), hexagons(), scattered(), square() + scattered(144) / 100])
def test_regions_cell_types_and_splits_of_one_tissue_pass(places):
    rng = np.random.default_rng(0)
    right = places[:, 0] > np.median(places[:, 0])
    one = AnnData(obsm={"spatial": places})
    one.obs["domain"] = pd.Categorical(np.where(right, "tumour", "stroma"))
    one.obs["sample"] = np.where(right, "piece 1", "piece 2")  # two pieces that touch
    one.obs["cell_type"] = rng.choice(["T", "B", "fibroblast"], len(places))
    one.obs["in_test_set"] = rng.random(len(places)) < 0.5
    one.obs["array_row"] = (places[:, 1] // 100).astype(int)
    one.obs["cluster"] = rng.integers(0, 4, len(places))
    one.obs["batch"] = "only one"
    hq.io.check_one_section(one)


@pytest.mark.parametrize("place", [square, hexagons, scattered])
def test_pieces_side_by_side_pass(place):
    hq.io.check_one_section(joined(place(), place(shift=(1300, 0)), suffix=True))


def test_what_was_declared_one_tissue_passes():
    both = joined(square(), square(shift=(30, 20)))
    hq.io.declare_one_section(both)
    hq.io.check_one_section(both)


def test_lists_and_numbers_of_many_values_are_no_sections():
    one = AnnData(obsm={"spatial": scattered()})
    one.obs["batch"] = [[1]] * one.n_obs
    one.obs["sample"] = np.arange(one.n_obs)
    one.obs["slide"] = np.nan
    hq.io.check_one_section(one)


def test_a_row_of_a_table_is_one_section(tmp_path):
    places = joined(square(), square(shift=(30, 20)), column="batch")
    AnnData(np.ones((places.n_obs, 3)), obs=places.obs, obsm=dict(places.obsm)).write_h5ad(tmp_path / "both.h5ad")
    (tmp_path / "samples.csv").write_text("section,counts\nA,both.h5ad\n")
    with pytest.raises(ValueError, match=r"'A' \(line 2\).*obs\['batch'\] names 2.*one_section=True"):
        hq.io.read_samples(tmp_path / "samples.csv")
    sections = hq.io.read_samples(tmp_path / "samples.csv", one_section=True).sections
    assert sections["A"].uns["histoquilt"]["one_section"]


def test_a_section_of_a_study_is_one():
    both = joined(square(), square(shift=(30, 20)))
    with pytest.raises(ValueError, match=r"library_id"):
        hq.io.check_study({"a": both})
