"""Folders of studies are recognised, described as they are, and what is wrong in them is said by file."""

import gzip
import json
import shutil

import pandas as pd
import pytest
from PIL import Image

import histoquilt as hq
from histoquilt.datasets.studies import describe, layouts, write_samples

MARKED = ("her2st", "her2st-zenodo", "cscc", "dlpfc", "visium", "wu2021", "hest")


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("layout", MARKED)
def test_a_folder_is_recognised_and_left_as_it_is(make, layout, tmp_path):
    folder = make(layout)
    before = files_of(folder)
    study = describe(tmp_path)  # one level above
    assert study.layout == layout
    assert study.missing == []
    table = study.table()
    assert len(table) == len(before.keys() & {*map(str, table["counts"])}) or table["counts"].is_unique
    out = write_samples(study, folder / "samples.csv")
    written = pd.read_csv(out, dtype=str)
    assert all((folder / path).exists() for path in written["counts"])  # relative to the table
    assert not written["counts"].str.startswith("/").any()
    out.unlink()
    assert files_of(folder) == before
    assert describe(folder, layout).table().equals(table)


def test_a_table_elsewhere_has_full_paths(make, tmp_path):
    study = describe(make("cscc"))
    written = pd.read_csv(write_samples(study, tmp_path / "elsewhere" / "samples.csv"))
    assert written["counts"].str.startswith("/").all()


def test_her2st(make):
    table = describe(make("her2st")).table()
    assert table["patient"].to_dict() == {"A1": "A", "B1": "B", "B2": "B", "C1": "C"}
    assert table["published_32"].to_dict() == {"A1": "no", "B1": "yes", "B2": "yes", "C1": "yes"}
    assert (table["labels"] != "").to_dict() == {"A1": True, "B1": True, "B2": False, "C1": True}
    assert (table["image_scale"] == 1).all()


@pytest.mark.parametrize("form", ["by archive", "by hand", "together"])
def test_her2st_as_the_archives_of_its_record(make, form):
    study = describe(make("her2st-zenodo", form=form))
    table = study.table()
    assert study.layout == "her2st-zenodo"
    assert study.missing == []
    assert table["patient"].to_dict() == {"A1": "A", "B1": "B", "B2": "B", "C1": "C"}
    assert (table["labels"] != "").to_dict() == {"A1": True, "B1": True, "B2": False, "C1": True}
    assert table["image"].str.contains("/images/HE/" if form != "by archive" else "/images/images/HE/").all()


def test_the_32_sections_of_the_papers_are_a2_to_g3():
    from histoquilt.datasets.studies._her2st import PUBLISHED

    everything = sorted(f"{letter}{number}" for letter in "ABCDEFGH" for number in range(1, 7 if letter < "E" else 4))
    assert len(everything) == 36
    assert sorted(PUBLISHED) == everything[1:33]
    assert (everything[1], everything[32]) == ("A2", "G3")


def test_cscc_and_the_patients_of_its_names(make):
    table = describe(make("cscc")).table()
    assert table["patient"].to_dict() == {
        "P2_ST_rep1": "P2", "P10_ST_rep1": "P10", "P5_ST_rep1": "P5", "P2_ST_rep2": "P2",
    }  # fmt: skip
    assert table["image"].str.endswith(".jpg.gz").all()


def test_cscc_names_the_visium_samples_of_the_series(make):
    folder = make("cscc")
    for end in ("barcodes.tsv.gz", "matrix.mtx.gz", "P4_rep1_tissue_positions_list.csv.gz"):
        (folder / f"GSM4565823_{end}").write_bytes(b"")
    study = describe(folder)
    assert len(study.rows) == 4
    assert any("Visium samples of the series are not read here: 'P4_rep1'" in note for note in study.notes)


def test_dlpfc_of_one_donor_is_a_stack(make):
    table = describe(make("dlpfc")).table()
    assert table["z_um"].tolist() == [0, 10, 310, 320]
    assert set(table["patient"]) == {"Br8100"}
    assert table["label_column"].fillna("").to_dict()["151674"] == "layer_guess"
    assert table["image_scale"].tolist() == [2.0] * 4  # of the hires image, half the size


def test_dlpfc_of_two_donors_is_none(make):
    study = describe(make("dlpfc", names=("151507", "151508", "151673", "151676")))
    table = study.table()
    assert table["donor_z_um"].tolist() == [0, 10, 0, 320]
    assert "z_um" not in table
    assert set(table["patient"]) == {"Br5292", "Br8100"}
    assert any("no stack" in note for note in study.notes)


def test_visium_takes_the_largest_image(make):
    study = describe(make("visium"))
    table = study.table()
    assert [name.rpartition("_")[2] for name in table.index] == ["1", "2", "3"]
    assert table["image"].str.extract(r"(hires|image\.tif)$")[0].tolist()[2] == "image.tif"
    assert table["image_scale"].tolist() == [2.0, 2.0, 1.0]
    assert "patient" not in table  # not recorded by Space Ranger
    assert any("patient" in note for note in study.notes)


def test_dlpfc_as_cloned_with_the_files_of_aws(make):
    folder = make("dlpfc", names=("151507", "151508", "151509", "151510"))
    for name in ("151509", "151510"):  # as HumanPilot has them: no spatial/, images with the number
        place = folder / name
        for path in list((place / "spatial").iterdir()):
            path.rename(place / (f"{name}_{path.name}" if path.suffix == ".png" else path.name))
        (place / "spatial").rmdir()
        (place / "detected_tissue_image.jpg").write_bytes((place / f"{name}_tissue_hires_image.png").read_bytes())
    table = describe(folder).table()
    assert table["image"].str.extract(r"([^/]+)$")[0].tolist()[2:] == [
        "151509_tissue_hires_image.png", "151510_tissue_hires_image.png",
    ]  # fmt: skip
    assert table["image_scale"].tolist() == [2.0] * 4


def test_of_a_cytassist_run_the_image_of_the_microscope_is_taken(make, slides):
    folder = make("visium")
    sample = "V1_Breast_Cancer_Block_A_Section_3"
    pixels = slides[2][1]
    cytassist, microscope = folder / sample / f"{sample}_image.tif", folder / sample / f"{sample}_tissue_image.tif"
    cytassist.rename(microscope)
    Image.fromarray(pixels[: len(pixels) // 2]).save(cytassist)
    row = describe(folder).rows[sample]
    assert (row["image"], row["image_scale"]) == (microscope, 1.0)
    microscope.unlink()
    study = describe(folder)
    row = study.rows[sample]
    assert (row["image"].name, row["image_scale"]) == ("tissue_hires_image.png", 2.0)
    height, width = pixels.shape[:2]
    told = f"{cytassist.name} is not used: it has {width:,} x {height // 2:,} pixels, and the image that the spots"
    assert any(told in note for note in study.notes)


def test_wu2021(make, slides):
    folder = make("wu2021")
    (folder / "images").mkdir()
    Image.fromarray(slides[0][1]).save(folder / "images" / "1142243F.tif")
    Image.fromarray(slides[1][1][:30]).save(folder / "images" / "CID4290.tif")  # of other proportions
    study = describe(folder)
    table = study.table()
    assert table["patient"].tolist() == list(table.index)
    assert table["subtype"].tolist() == ["TNBC", "ER", "TNBC"]
    assert table["image_scale"].tolist() == pytest.approx([1.0, 2.0, 2.0], rel=0.01)
    assert any("CID4290.tif is not used" in note for note in study.notes)


def test_hest_patients_are_those_of_their_study(make):
    folder = make("hest")
    table = describe(folder).table()
    assert table["patient"].nunique() == 4
    assert table.loc["TENX95", "patient"] == "Study 0: Patient 1"
    assert (table["mpp"] == 2.0).all()
    assert table.loc["TENX95", ["species", "technology", "organ"]].tolist() == ["human", "Xenium", "Breast"]
    facts = json.loads((folder / "metadata" / "INT1.json").read_text())
    for missing in ("patient", "dataset_title"):
        facts[missing] = None
    (folder / "metadata" / "INT1.json").write_text(json.dumps(facts))
    (folder / "HEST_v1_1_0.csv").unlink()
    study = describe(folder)
    assert "INT1" in " ".join(study.notes)
    assert pd.isna(study.table().loc["INT1", "patient"])


def test_hest_facts_that_are_not_a_number(make):
    folder = make("hest")
    path = folder / "metadata" / "INT1.json"
    facts = json.loads(path.read_text())
    for unknown in ("patient", "organ", "species", "disease_state", "pixel_size_um_estimated"):
        facts[unknown] = float("nan")
    path.write_text(json.dumps(facts))
    (folder / "HEST_v1_1_0.csv").unlink()
    row = describe(folder).rows["INT1"]
    assert not {"patient", "organ", "species", "disease_state", "mpp"} & row.keys()


def test_a_task_of_hest_bench_is_named_as_such(tmp_path):
    task = hq.datasets.toy_hest_task(tmp_path / "bench_data" / "TOY", n_sections=2, n_spots=60)
    for folder in (task, task.parent):
        with pytest.raises(ValueError, match=r"is of HEST-Bench.*evaluate_models with protocol='hest'"):
            describe(folder)


def test_spamask_takes_everything_however_deep(make):
    folder = make("spamask")
    for archive in ("MOB", "STARmap"):
        (folder / archive / "data").mkdir(parents=True)
        shutil.copy(folder / "other.h5ad", folder / archive / "data" / "filtered.h5ad")
    (folder / "DLPFC").mkdir()
    (folder / "151673").rename(folder / "DLPFC" / "151673")
    table = describe(folder, "spamask").table()
    assert sorted(table.index) == ["151673", "MOB_data_filtered", "STARmap_data_filtered", "other"]
    assert table.loc["151673", "counts"].endswith("DLPFC/151673")


def test_spamask_is_only_taken_when_asked_for(make):
    folder = make("spamask")
    assert describe(folder).layout == "dlpfc"
    table = describe(folder, "spamask").table()
    assert sorted(table.index) == ["151673", "other"]
    assert table.loc["151673", "patient"] == "Br8100"


@pytest.mark.parametrize("layout", [*MARKED, "spamask"])
def test_files_that_macos_adds_are_no_part_of_a_study(make, layout):
    folder = make(layout)
    before = describe(folder, layout)
    for path in sorted(folder.rglob("*")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    shutil.copytree(folder, folder / "__MACOSX" / "study")
    after = describe(folder, layout)
    assert after.table().equals(before.table())
    assert (after.missing, after.notes) == (before.missing, before.notes)
    counts = next(iter(after.rows.values()))["counts"]
    if layout in ("dlpfc", "visium", "spamask"):
        assert hq.io.read_section(counts).n_obs > 0
    elif layout == "wu2021":
        assert hq.io.read_visium(counts, spatial=after.rows["1142243F"]["spots"]).n_obs > 0


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "gone", "told"),
    [
        ("her2st", "data/ST-spotfiles", r"looks like HER2ST .*there is no ST-spotfiles/\*_selection.tsv\*. Expected: "),
        ("her2st", "data/ST-cnts", r"there is no ST-cnts/\*.tsv\*"),
        ("wu2021", "spatial", r"looks like Wu 2021 .*there is no spatial/\*_spatial"),
        ("hest", "st", r"looks like HEST-1k, but there is no st/\*.h5ad"),
    ],
)
def test_a_layout_that_is_almost_right(make, layout, gone, told):
    folder = make(layout)
    shutil.rmtree(folder / gone)
    with pytest.raises(ValueError, match=told):
        describe(folder)
    with pytest.raises(ValueError, match=told):
        describe(folder, layout)


def test_a_missing_file_is_named(make):
    folder = make("her2st")
    (folder / "data/ST-spotfiles/B1_selection.tsv").unlink()
    shutil.rmtree(folder / "data/ST-imgs/C/C1")
    study = describe(folder)
    assert list(study.rows) == ["A1", "B2", "C1"]
    assert study.missing[0].startswith("B1: ST-spotfiles/B1_selection.tsv is missing: the spots have no positions")
    assert study.missing[1].startswith("C1: ST-imgs/C/C1/*.jpg is missing: domains work")
    assert any(note.startswith("B1: there is an image (ST-imgs/B/B1/HE_BT_B1.jpg)") for note in study.notes)


def test_a_dlpfc_section_without_labels_or_counts(make):
    folder = make("dlpfc")
    (folder / "151673/151673_truth.txt").unlink()
    (folder / "151674/filtered_feature_bc_matrix.h5").unlink()
    study = describe(folder)
    assert "151674" not in study.rows
    assert any(line.startswith("151673: 151673/151673_truth.txt") for line in study.missing)
    assert any(line.startswith("151674: 151674/filtered_feature_bc_matrix.h5 is missing") for line in study.missing)


def test_several_studies_in_one_folder(make, tmp_path):
    make("her2st", "one")
    make("cscc", "two")
    with pytest.raises(ValueError, match=r"holds 2 studies: HER2ST .*one/data .*cSCC .*two .*layout='cscc'"):
        describe(tmp_path)
    assert describe(tmp_path, "cscc").layout == "cscc"


def test_another_study_between_the_sections_of_one(make):
    folder = make("dlpfc")
    shutil.copytree(folder / "151673", folder / "sample_of_ours")
    with pytest.raises(ValueError, match=r"holds 2 studies: DLPFC .*folders of Space Ranger"):
        describe(folder)


def test_a_file_plain_and_packed(make):
    folder = make("her2st")
    packed = folder / "data/ST-cnts/A1.tsv.gz"
    (folder / "data/ST-cnts/A1.tsv").write_bytes(gzip.decompress(packed.read_bytes()))
    study = describe(folder)
    assert study.rows["A1"]["counts"].name == "A1.tsv"
    assert "A1.tsv and A1.tsv.gz are the same file, plain and compressed; the plain one is used." in study.notes


def test_a_spot_file_of_another_section(make):
    folder = make("her2st")
    spots = folder / "data/ST-spotfiles/A1_selection.tsv"
    table = pd.read_csv(spots, sep="\t")
    table.assign(x=table["x"] + 40).to_csv(spots, sep="\t", index=False)
    study = describe(folder)
    assert "A1" not in study.rows
    n_selected = (table["selected"] == 1).sum()
    assert f"A1_selection.tsv has {n_selected} selected spots, of which 0 are in A1.tsv.gz" in study.missing[0]
    spots.write_text("x\ty\n1\t2\n")
    assert "lacks the columns 'pixel_x', 'pixel_y'" in describe(folder).missing[0]


def test_a_patient_under_two_spellings(make):
    study = describe(make("her2st", names=("A1", "a2", "B1", "C1")))
    assert {name: row["patient"] for name, row in study.rows.items()} == {"A1": "A", "B1": "B", "C1": "C", "a2": "A"}
    assert "'A', 'a' are taken as one" in " ".join(study.notes)


def test_no_usable_section(make):
    folder = make("her2st", names=("A1", "B1", "B2", "C1"))
    for path in (folder / "data/ST-spotfiles").iterdir():
        path.rename(path.with_name(f"X{path.name}"))
    with pytest.raises(ValueError, match=r"holds no section of HER2ST .* A1: ST-spotfiles/A1_selection.tsv is missing"):
        describe(folder)


def test_no_study(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"not a study in a known layout: her2st .*It holds: 'notes.txt'"):
        describe(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; expected the folder of a study"):
        describe(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a file"):
        describe(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"Unknown study layout 'her2'\. Did you mean 'her2st'"):
        describe(tmp_path, "her2")
    assert layouts()[0] == "her2st"


def test_a_layout_of_another_package(make, monkeypatch, tmp_path):
    class Ours:
        label, signs, needs = "ours", ("*.ours",), ("*.ours",)

        def sections(self, root):
            return {path.stem: path for path in root.glob("*.ours")}

        def describe(self, study):
            for name, path in self.sections(study.root).items():
                study.add(name, path, patient="p")

    assert isinstance(Ours(), hq.datasets.studies.StudyLayout)
    from histoquilt._base import STUDY_LAYOUTS

    load = STUDY_LAYOUTS.load
    monkeypatch.setattr(STUDY_LAYOUTS, "names", lambda: [*layouts_before, "ours"])
    layouts_before = list(STUDY_LAYOUTS._ours)
    monkeypatch.setattr(STUDY_LAYOUTS, "load", lambda name: Ours() if name == "ours" else load(name))
    (tmp_path / "a.ours").write_text("")
    assert describe(tmp_path).table()["patient"].tolist() == ["p"]
