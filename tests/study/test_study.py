"""Sections in every form a user brings them, resolved once."""

import numpy as np
import pytest
from anndata import AnnData

import histoquilt as hq
from histoquilt.study import Section, Slots, Study


def toy(**options) -> AnnData:
    return hq.datasets.toy_section(n_spots=150, n_genes=30, n_domains=2, seed=0, **options)


@pytest.fixture
def pair() -> list[AnnData]:
    sections = [toy(), toy()]
    for section, name in zip(sections, ("lib", "other"), strict=True):
        section.obs = section.obs.drop(columns="section", errors="ignore")
        section.uns["spatial"] = {name: {}}
    return sections


def test_every_form(pair, tmp_path):
    a, b = pair
    assert list(Study.of({1: a, "b": b})) == ["1", "b"]
    assert list(Study.of([a, b])) == ["lib", "other"]
    joint = hq.io.concat_sections({"first": a, "second": b})
    assert list(Study.of(joint)) == ["first", "second"]
    del b.uns["spatial"]
    assert list(Study.of([a, b])) == ["lib", "2"]
    b.obs["section"] = "mine"
    study = Study.of([a, b])
    assert study["mine"].adata is b
    assert Study.of(study) is study
    with pytest.raises(ValueError, match="The sections are a Study with Slots"):
        Study.of(study, Slots(layer="counts"))
    a.write_h5ad(tmp_path / "a.h5ad")
    assert np.array_equal(Study.of({"a": tmp_path / "a.h5ad"})["a"].centres, a.obsm["spatial"])
    b.write_h5ad(tmp_path / "b.h5ad")
    (tmp_path / "samples.csv").write_text("section,counts\nS1,a.h5ad\nS2,b.h5ad\n")
    assert list(Study.of(tmp_path / "samples.csv")) == ["S1", "S2"]


def test_a_table_of_counts_is_no_table_of_samples(tmp_path):
    rows = [f"{x}x{y}\t{x + y + 1}\t2" for x in range(5) for y in range(5)]
    (tmp_path / "counts.tsv").write_text("\n".join(["\tA\tB", *rows]) + "\n")
    with pytest.raises(FileNotFoundError, match="No selection table"):  # the reader of legacy ST has it
        Study.of(tmp_path / "counts.tsv")


def test_pieces_with_one_image_are_numbered(pair):
    a, b = pair
    b.uns["spatial"] = a.uns["spatial"]
    assert list(Study.of([a, b])) == ["1", "2"]


def test_no_form(pair):
    a, b = pair
    a.obs["section"] = b.obs["section"] = "one"
    with pytest.raises(ValueError, match=r"Two sections of the list are both named 'one'. Pass a dict"):
        Study.of([a, b])
    with pytest.raises(TypeError, match=r"Expected an AnnData, a list or a dict of them, or the path .* got int"):
        Study.of(3)
    b.obs["section"] = ["u"] * 50 + ["v"] * 100
    with pytest.raises(ValueError, match="of one section of the list holds 2 names: 'u', 'v'"):
        Study.of([a, b])
    with pytest.raises(KeyError, match=r"'slice' is not in adata.obs"):
        Study.of(a, Slots(section_key="slice"))


def test_microns_are_recorded_or_those_of_the_lattice():
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
    adata = AnnData(np.ones((144, 3)), obsm={"spatial": 400 * grid})
    section = Section("a", adata)
    assert section.unit == "unknown"
    assert section.mpp == pytest.approx(0.5)  # a square lattice is legacy ST
    assert section.pitch_um == pytest.approx(200)
    hq.io.record_coordinates(adata, "pixel", mpp=0.25)
    assert Section("a", adata).pitch_um == pytest.approx(100)
    hq.io.record_coordinates(adata, "micron")
    assert Section("a", adata).mpp is None
    assert Section("a", adata).pitch_um == pytest.approx(400)


def test_a_thing_is_made_once_and_kept_for_other_annotations_of_the_spots(pair):
    section = Section("a", pair[0])
    calls = []
    for _ in range(2):
        section.once("graph", lambda: calls.append("graph") or "graph")
        section.once(("expression", "x"), lambda: calls.append("expression") or 1)
    assert calls == ["graph", "expression"]
    pitch = section.pitch_um
    bare = section.replace(AnnData(obs=pair[0].obs, obsm={"spatial": pair[0].obsm["spatial"]}), expression=False)
    assert bare.pitch_um == pitch
    assert bare.once("graph", lambda: calls.append("again")) == "graph"
    bare.once(("expression", "x"), lambda: calls.append("expression of the bare one"))
    assert calls[2:] == ["expression of the bare one"]


def test_results_are_written_into_what_the_user_gave():
    adata = toy(n_sections=2)
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    study = Study.of(adata)
    study.write("obsm", "moved", {name: section.centres + 1 for name, section in study.items()})
    assert np.array_equal(adata.obsm["moved"], adata.obsm["spatial"] + 1)
    apart = hq.io.split_sections(adata)
    Study.of(apart).write("obsm", "moved", {name: np.zeros((part.n_obs, 2)) for name, part in apart.items()})
    assert not apart["s1"].obsm["moved"].any()


def test_places_and_order(pair):
    a, b = pair
    study = Study.of({"a": a, "b": b})
    assert study.places("z_um") is None
    assert study.stack_order() == ["a", "b"]
    a.obs["z_um"], b.obs["z_um"] = 20.0, 10.0
    assert Study.of({"a": a, "b": b}).stack_order() == ["b", "a"]
    del b.obs["z_um"]
    with pytest.raises(ValueError, match="z_um is given for 1 of 2 sections, and missing for 'b'"):
        study.places("z_um")


def test_patients(pair):
    a, b = pair
    study = Study.of({"a": a, "b": b})
    assert study.patients() == {"a": "a", "b": "b"}
    a.obs["patient"], b.obs["patient"] = "P1", "P2"
    assert study.patients() == {"a": "P1", "b": "P2"}
    b.obs["patient"] = "P1"
    assert study.patients() == {"a": "a", "b": "b"}  # one patient: sections are left out
    with pytest.raises(KeyError, match=r"'donor' is not in adata\.obs"):
        study.patients("donor")
