"""A study read from its table: every bad row is told before any work."""

import shutil

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import histoquilt as hq

GRID = np.stack(np.meshgrid(np.arange(6), np.arange(6)), axis=-1).reshape(-1, 2)


def write_section(path, *, unit="pixel", first_gene=0, pitch=400.0, **uns) -> None:
    """36 spots on a square lattice, 20 genes; 200 um between spots, so 0.5 um/px."""
    counts = np.random.default_rng(0).poisson(3, (36, 20)).astype(np.float32)
    genes = [f"GENE{first_gene + i}" for i in range(20)]
    adata = AnnData(
        counts,
        obs=pd.DataFrame({"patient": "p1", "stage": 2}, index=[f"spot{i}" for i in range(36)]),
        var=pd.DataFrame(index=genes),
        obsm={"spatial": GRID * pitch},
        uns=uns,
    )
    hq.io.record_coordinates(adata, unit)
    hq.io.write_h5ad(adata, path)


@pytest.fixture
def study(tmp_path):
    """A folder with four sections in ``data/``, and a function that writes the table and reads it."""
    (tmp_path / "data").mkdir()
    for name in "abcd":
        write_section(tmp_path / "data" / f"{name}.h5ad")

    def read(table: str, **options):
        (tmp_path / "samples.csv").write_text(table, encoding="utf-8")
        return hq.io.read_samples(tmp_path / "samples.csv", **options)

    read.folder = tmp_path
    return read


def rows(header: str, *cells: str) -> str:
    """A table of sections a, b, ... with further columns."""
    lines = [f"{name},data/{name}.h5ad{',' + cell if cell else ''}" for name, cell in zip("abcd", cells, strict=False)]
    return "\n".join([f"section,counts{',' + header if header else ''}", *lines]) + "\n"


@pytest.mark.parametrize(
    ("column", "meant"), [("patinet", "patient"), ("Patient", "patient"), ("imgae", "image"), ("slides", "slide")]
)
def test_a_misspelt_column_is_kept_with_a_hint(study, column, meant):
    with pytest.warns(UserWarning, match=f"column '{column}' has no meaning here .* Did you mean '{meant}'"):
        found = study(rows(column, "p1", "p2"))
    assert (found.sections["a"].obs[column] == "p1").all()


def test_columns_of_the_users_own_are_no_misspelling(study, recwarn):
    study(rows("patient,patients,age,stage,batch,sex,block,x", "p1,p1,50,2,1,f,7,0", "p1,p2,60,2,1,m,8,1"))
    assert not [str(one.message) for one in recwarn if "Did you mean" in str(one.message)]


def test_what_the_table_says_is_written_into_the_sections(study):
    table = rows("patient,z_um,mpp,image_scale,age,lot,note", "p1,0,0.5,1,12,007,", 'p2,10,,2.5,13,008,"fresh, cold"')
    with pytest.warns(UserWarning, match=r"Section 'b': obs\['patient'\] of its file is replaced by 'p2'"):
        found = study(table)
    assert list(found.sections) == ["a", "b"]
    assert found.skipped == {}
    a, b = found.sections.values()
    assert a.obs["section"].cat.categories.tolist() == ["a"]
    assert (a.obs["z_um"] == 0).all()
    assert (b.obs["z_um"] == 10).all()
    assert b.obs["patient"].unique().tolist() == ["p2"]
    assert b.obs["age"].unique().tolist() == [13]
    assert b.obs["lot"].unique().tolist() == ["008"]  # a name, not the number 8
    assert b.obs["note"].unique().tolist() == ["fresh, cold"]
    assert "note" not in a.obs
    assert not {"counts", "mpp", "image_scale"} & set(a.obs)
    assert a.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": 0.5}
    assert b.uns["histoquilt"]["coordinates"] == {"unit": "pixel"}
    assert b.uns["histoquilt"]["image_scale"] == 2.5
    assert b.uns["histoquilt"]["source"] == "data/b.h5ad"
    assert found.table.index.tolist() == ["a", "b"]
    assert found.table["counts"].tolist() == [str(study.folder / "data" / f"{name}.h5ad") for name in "ab"]
    assert hq.io.concat_sections(found.sections).n_obs == 72


def test_as_spreadsheets_write_it(study):
    table = "\ufeff" + rows("z_um,,", "0,,", " 10 ,,").replace("\n", "\r\n") + ",,,,\r\n\r\n"
    assert [adata.obs["z_um"].iloc[0] for adata in study(table).sections.values()] == [0, 10]


def test_names_that_are_numbers_stay_text(study):
    assert list(study("section,counts\n0151,data/a.h5ad\n152,data/b.h5ad\n").sections) == ["0151", "152"]


@pytest.mark.parametrize("name", ["_note", "__x", "a.b", "index", "Größe", "Unnamed: 0"])
def test_odd_names_of_columns_that_can_be_written(study, name):
    adata = study(rows(name, "x")).sections["a"]
    hq.io.write_h5ad(adata, study.folder / "out.h5ad")
    assert hq.io.read_h5ad(study.folder / "out.h5ad").obs[name].unique().tolist() == ["x"]


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("latin-1", r"not written in UTF-8 \(first in line 2: b'\\xf6'\).*Latin-1. Save it as 'CSV UTF-8"),
        ("mac-roman", r"not written in UTF-8.*Save it as 'CSV UTF-8"),
        ("utf-16", r"written in UTF-16.*Save it as 'CSV UTF-8"),
        ("utf-16-le", r"written in UTF-16.*Save it as 'CSV UTF-8"),
    ],
)
def test_a_table_in_another_encoding(study, encoding, words):
    (study.folder / "samples.csv").write_bytes("section,counts\nMöller,data/a.h5ad\n".encode(encoding))
    with pytest.raises(ValueError, match=rf"samples.csv is {words}"):
        hq.io.read_samples(study.folder / "samples.csv")


def test_a_table_that_is_a_workbook(study):
    (study.folder / "samples.csv").write_bytes(b"PK\x03\x04\x00\x00")
    with pytest.raises(ValueError, match=r"samples.csv is an Excel workbook.*CSV UTF-8"):
        hq.io.read_samples(study.folder / "samples.csv")


def test_paths_in_full(study):
    assert study(f"section,counts\na,{study.folder / 'data' / 'a.h5ad'}\n").sections["a"].n_obs == 36


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("section,file\na,data/a.h5ad\n", r"missing: 'counts' \(found: 'section', 'file'\)"),
        ("section;counts\na;data/a.h5ad\n", "separated by semicolons or tabs; save it separated by commas"),
        ("section,counts,age,age\na,data/a.h5ad,1,2\n", "a name of its own; repeated or empty: 'age'"),
        (",section,counts\n0,a,data/a.h5ad\n", r"repeated or empty: ''. Column '1' has no name.*index=False"),
        ("section,,counts\na,,data/a.h5ad\n", r"repeated or empty: ''. Column '2' has no name"),
        ("section,counts,\na,data/a.h5ad,7\n", r"repeated or empty: ''. Column '3' has no name"),
        (rows("_index", "x"), "'_index' is reserved by the file format. Rename it"),
        (rows(".", "x"), "'.' is reserved"),
        (rows("age,Ki67/CD3", "1,x"), "'Ki67/CD3' holds a slash"),
        (rows("obs_name", "x"), "results are written under the name of column 'obs_name'"),
        (rows("domain_confidence", "1"), "results are written under the name of column 'domain_confidence'"),
        ("section,counts\n", "holds no section"),
        ("", "could not be read as a table"),
        ("section,counts\na,data/a.h5ad\n,data/b.h5ad\n", "'section' is empty in line '3'"),
        ("section,counts\na,data/a.h5ad\na,data/b.h5ad\n", "Section names must be unique; repeated: 'a'"),
        ("section,counts\na/b,data/a.h5ad\n", "cannot be empty or hold a slash: 'a/b'"),
        (
            "section,counts\na,data/a.h5ad\nb,data/../data/a.h5ad\n",
            "'a', 'b' have the same counts, a.h5ad",
        ),
        (rows("z_um", "0", "", "310"), "z_um is given for 2 of 3 sections, and missing for 'b'"),
        (rows("x_um,y_um", "0,0", "1,"), "y_um is given for 1 of 2 sections"),
        (rows("x_um", "0", "1"), "of x_um and y_um only one is given"),
    ],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_what_is_wrong_with_the_table_as_a_whole(study, table, words, skip_bad):
    with pytest.raises(ValueError, match=rf"samples.csv.*{words}"):
        study(table, skip_bad=skip_bad)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("section,counts\na,data/a.h5ad\nb,\n", r"'b' \(line 3\): the cell 'counts' is empty"),
        (rows("z_um", "0", "ten"), r"'b' \(line 3\): z_um must be a number, got 'ten'"),
        (rows("z_um", "0", "nan"), "z_um must be a number, got 'nan'"),
        (rows("mpp", "0.5", "-1"), "mpp must be positive, got -1"),
        (rows("image_scale", "1", "0"), "image_scale must be positive, got 0"),
        (rows("", "", "") + "e,data/e.h5ad\n", r"'e' \(line 4\): counts .*e.h5ad does not exist"),
    ],
)
def test_a_bad_row_is_named_before_any_file_is_read(study, table, words, monkeypatch):
    def unread(path, **options):
        pytest.fail(f"{path} was read though a row is bad")

    monkeypatch.setattr("histoquilt.io.sections._samples.read_section", unread)
    with pytest.raises(ValueError, match=f"{words}.*Correct them, or go on without them: skip_bad=True"):
        study(table)


def test_all_unreadable_sections_are_named_at_once(study, truncated):
    truncated(study.folder / "data" / "b.h5ad")
    (study.folder / "data" / "d.h5ad").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"2 of 4 sections .*'b' \(line 3\).*truncated.*'d' \(line 5\).*a web page"):
        study(rows("", *[""] * 4))


@pytest.mark.filterwarnings("ignore:Section 'c' is left out")
def test_skip_bad_goes_on_without_and_says_why(study, truncated):
    truncated(study.folder / "data" / "b.h5ad")
    with pytest.warns(UserWarning, match=r"Section 'b' is left out: .*truncated"):
        found = study(rows("z_um", "0", "10", "ten", "30"), skip_bad=True)
    assert list(found.sections) == ["a", "d"]
    assert found.table.index.tolist() == ["a", "d"]
    assert list(found.skipped) == ["c", "b"]
    assert "truncated" in found.skipped["b"]
    assert "must be a number" in found.skipped["c"]


def test_skip_bad_with_nothing_left(study):
    (study.folder / "data" / "a.h5ad").write_text("")
    with pytest.raises(ValueError, match=r"1 of 1 sections cannot be used: 'a'.*Nothing is left to work on"):
        study("section,counts\na,data/a.h5ad\n", skip_bad=True)


def test_an_error_of_another_package_is_named_by_its_type(study, monkeypatch):
    def fails(path, **options):
        raise RuntimeError("no such block")

    monkeypatch.setattr("histoquilt.io.sections._samples.read_section", fails)
    with pytest.raises(ValueError, match=r"'a' \(line 2\): RuntimeError: no such block"):
        study(rows("", ""))


def test_running_out_of_memory_is_no_bad_section(study, monkeypatch):
    def fails(path, **options):
        raise MemoryError

    monkeypatch.setattr("histoquilt.io.sections._samples.read_section", fails)
    with pytest.raises(MemoryError):
        study(rows("", "", ""), skip_bad=True)


def test_one_file_with_several_sections(study):
    joint = hq.datasets.toy_section(n_spots=40, n_genes=4, n_domains=2, n_sections=2, seed=0)
    hq.io.write_h5ad(joint, study.folder / "data" / "a.h5ad")
    with pytest.raises(ValueError, match=r"'a' \(line 2\): data/a.h5ad holds 2 sections \('s1', 's2' in obs"):
        study(rows("", "", ""))


def test_units_and_genes_that_do_not_go_together(study):
    write_section(study.folder / "data" / "b.h5ad", unit="micron")
    with pytest.raises(ValueError, match=r"different units \(pixel: 'a'; micron: 'b'\)"):
        study(rows("", "", ""))
    write_section(study.folder / "data" / "b.h5ad", first_gene=20)
    with pytest.raises(ValueError, match="All 2 sections together share 0 genes"):
        study(rows("", "", ""))


def test_mpp_is_compared_with_the_pitch(study, recwarn):
    study(rows("mpp", "0.5", "0.52"))
    assert not [warning for warning in recwarn if issubclass(warning.category, UserWarning)]
    with pytest.warns(UserWarning, match=r"'b': mpp is 0.25 in the table, and 0.5 by the distance .*100% apart"):
        found = study(rows("mpp", "0.5", "0.25"))
    assert found.sections["b"].uns["histoquilt"]["coordinates"]["mpp"] == 0.25


def test_mpp_where_there_are_no_pixels(study):
    write_section(study.folder / "data" / "a.h5ad", unit="micron")
    with pytest.raises(ValueError, match=r"'a' .*mpp is 0.5, but the coordinates are recorded in micron units"):
        study("section,counts,mpp\na,data/a.h5ad,0.5\n")
    assert study("section,counts,mpp\na,data/a.h5ad,1\n").sections["a"].uns["histoquilt"]["coordinates"]["unit"] == (
        "micron"
    )


def test_mpp_makes_unknown_units_pixels_and_keeps_the_pitch(study):
    path = study.folder / "data" / "a.h5ad"
    write_section(path, unit="unknown")
    adata = hq.io.read_h5ad(path)
    adata.uns["histoquilt"]["coordinates"] = {"unit": "unknown", "pitch_um": 200.0}
    adata.obsm["spatial"] += np.random.default_rng(0).uniform(-900, 900, (36, 2))  # no lattice to compare with
    hq.io.write_h5ad(adata, path)
    found = study("section,counts,mpp\na,data/a.h5ad,0.3\n").sections["a"]
    assert found.uns["histoquilt"]["coordinates"] == {"unit": "pixel", "mpp": 0.3, "pitch_um": 200.0}


def test_an_image_that_is_not_there_is_a_warning(study):
    (study.folder / "a.jpg").touch()
    with pytest.warns(UserWarning, match=r"Images that are not there: 'b \(b.jpg\)'"):
        found = study(rows("image", "a.jpg", "b.jpg"))
    assert found.sections["a"].obs["image"].unique().tolist() == ["a.jpg"]
    assert found.table.loc["a", "image"] == str(study.folder / "a.jpg")


@pytest.mark.filterwarnings("ignore:Variable names are not unique", "ignore:Names that several genes share")
def test_folders_and_files_in_one_table(study, visium_folder):
    shutil.copytree(visium_folder, study.folder / "run1" / "outs")
    adata = hq.io.read_section(study.folder / "run1")
    hq.io.write_h5ad(adata, study.folder / "data" / "a.h5ad")
    found = study("section,counts\nwhole,run1\nsaved,data/a.h5ad\n")
    assert [section.n_obs for section in found.sections.values()] == [100, 100]


def test_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"samples.csv does not exist; expected a samples table"):
        hq.io.read_samples(tmp_path / "samples.csv")


@pytest.mark.real_data
def test_ten_real_sections_one_of_them_unreadable(data_dir, tmp_path):
    names = [f"{patient}{number}" for patient in "AB" for number in range(1, 7)][:9]
    lines = [f"{name},{data_dir / 'her2st' / f'{name}.h5ad'}" for name in names]
    (tmp_path / "bad.h5ad").write_bytes((data_dir / "her2st" / "C1.h5ad").read_bytes()[:4000])
    (tmp_path / "samples.csv").write_text("\n".join(["section,counts", *lines, "C1,bad.h5ad"]))
    with pytest.raises(ValueError, match=r"1 of 10 sections cannot be used: 'C1' \(line 11\).*truncated"):
        hq.io.read_samples(tmp_path / "samples.csv")
    with pytest.warns(UserWarning, match="'C1' is left out"):
        found = hq.io.read_samples(tmp_path / "samples.csv", skip_bad=True)
    assert list(found.sections) == names
    assert list(found.skipped) == ["C1"]
    assert hq.io.concat_sections(found.sections).n_vars > 10_000
