"""Every likely wrong input ends in one line that says what to do, before any work and with nothing written."""

import anndata as ad
import numpy as np
import pytest

from histoquilt import tl


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    """A test here fails if the work is started."""

    def work(*arguments, **more):
        pytest.fail("the work was started on a bad input")

    monkeypatch.setattr(tl, "spatial_domains", work)
    monkeypatch.setattr(tl, "integrate_sections", work)


@pytest.fixture
def refuse_section(section, tmp_path, refused):
    """Write the section, run the command on it, return the line; nothing may be left behind."""

    def refuse(adata=section, *arguments, k=3):
        path = tmp_path / "bad.h5ad"
        adata.write_h5ad(path)
        line = refused("domains", path, "-k", k, "-o", tmp_path / "out", *arguments)
        assert "bad.h5ad" in line
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.h5ad"]
        return line

    return refuse


def test_missing_file(refused, tmp_path):
    line = refused("domains", tmp_path / "nowhere.h5ad", "-k", 3, "-o", tmp_path / "out")
    assert "nowhere.h5ad does not exist" in line
    assert "Check the path" in line


def test_truncated_h5ad(refused, section_file, tmp_path):
    whole = section_file.read_bytes()
    section_file.write_bytes(whole[: len(whole) // 2])
    line = refused("domains", section_file, "-k", 3, "-o", tmp_path / "out")
    assert "toy.h5ad" in line
    assert "truncated" in line
    assert "unexpected" not in line


def test_folder_that_is_no_visium_output(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").touch()
    line = refused("domains", tmp_path / "photos", "-k", 3, "-o", tmp_path / "out")
    assert "photos" in line
    assert "Space Ranger" in line
    assert "unexpected" not in line


def test_text_that_is_no_section(refused, tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    assert "notes.md" in refused("domains", tmp_path / "notes.md", "-k", 3, "-o", tmp_path / "out")


def test_no_coordinates(refuse_section, section):
    del section.obsm["spatial"]
    assert "'spatial' is not in adata.obsm" in refuse_section(section)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_not_finite(refuse_section, section, value):
    section.obsm["spatial"][3, 0] = value
    assert "1 of 240 spots have NaN or infinite coordinates" in refuse_section(section)


def test_all_coordinates_equal(refuse_section, section):
    section.obsm["spatial"][:] = 1.0
    assert "same coordinates" in refuse_section(section)


def test_log_transformed(refuse_section, section):
    section.X = section.X.log1p()
    section.uns = {}
    line = refuse_section(section)
    assert "X looks log-transformed" in line
    assert "layers['counts']" in line


def test_negative(refuse_section, section):
    section.X[5, 5] = -2.0
    section.uns = {}
    assert "negative" in refuse_section(section)


def test_all_zero(refuse_section, section):
    section.X.data[:] = 0
    section.uns = {}
    assert "all zero" in refuse_section(section)


def test_repeated_barcodes(refuse_section, section):
    names = section.obs_names.to_numpy().copy()
    names[1] = names[0]
    section.obs_names = names
    assert "must be unique" in refuse_section(section)


def test_fewer_spots_than_domains(refuse_section, section):
    assert "n_domains is 241, but there are only 240 spots" in refuse_section(section, k=241)


def test_one_spot(refuse_section, section):
    assert "only 1 spots" in refuse_section(section[:1].copy())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--ndomains", "No such option: --ndomains. Did you mean --n-domains? Try 'histoquilt --help'."),
        ("--n_domains", "No such option: --n_domains. Did you mean --n-domains? Try 'histoquilt --help'."),
        ("--nosuch", "No such option: --nosuch. Try 'histoquilt --help'."),
    ],
)
def test_an_unknown_option_names_the_nearest_one(refused, section_file, tmp_path, option, words):
    assert words in refused("domains", section_file, option, 3, "--out", tmp_path / "out")


def test_no_domains(refused, section_file, tmp_path):
    assert "at least 2, got 0" in refused("domains", section_file, "-k", 0, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--use-rep", "'X_none' is not in adata.obsm"),
        ("--layer", "'X_none' is not in adata.layers"),
        ("--section-key", "'X_none' is not in adata.obs"),
        ("--spatial-key", "'X_none' is not in adata.obsm"),
    ],
)
def test_missing_key(refuse_section, section, option, words):
    line = refuse_section(section, option, "X_none")
    assert words in line
    assert f"ass {option}" in line  # the option, not the argument of the Python function


def test_two_sections_of_one_name(refused, section_file, tmp_path):
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / section_file.name
    twin.write_bytes(section_file.read_bytes())
    line = refused("domains", section_file, twin, "-k", 3, "-o", tmp_path / "out")
    assert "two inputs are both named 'toy'" in line


def test_a_bad_last_input_stops_before_the_first_is_worked_on(refused, section, section_file, tmp_path):
    section.obsm["spatial"][:] = 0
    section.write_h5ad(tmp_path / "bad.h5ad")
    line = refused("domains", section_file, tmp_path / "bad.h5ad", "-k", 3, "-o", tmp_path / "out", "-q")
    assert "bad.h5ad" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "quick.json"), ('{"n_layerz": 3}', "n_layerz"), ("[1]", "quick.json")],
    ids=["no JSON", "unknown field", "no object"],
)
def test_bad_config(refused, section_file, quick, tmp_path, text, words):
    quick.write_text(text)
    line = refused("domains", section_file, "-k", 3, "-o", tmp_path / "out", "--config", quick)
    assert words in line
    assert "unexpected" not in line


def test_missing_config(refused, section_file, tmp_path):
    line = refused("domains", section_file, "-k", 3, "-o", tmp_path / "out", "--config", tmp_path / "none.json")
    assert "none.json" in line


# studies


def test_one_of_ten_in_a_table_cannot_be_read(refused, three, samples, tmp_path):
    for i in range(10):
        three["s1"].write_h5ad(tmp_path / f"{i}.h5ad")
    whole = (tmp_path / "6.h5ad").read_bytes()
    (tmp_path / "6.h5ad").write_bytes(whole[: len(whole) // 3])
    table = samples("section,counts", *(f"S{i},{i}.h5ad" for i in range(10)))
    line = refused("domains", table, "-k", 3, "-o", tmp_path / "out")
    assert "1 of 10 sections cannot be used: 'S6' (line 8)" in line
    assert "6.h5ad is truncated" in line
    assert "go on without them: --skip-bad" in line
    assert not (tmp_path / "out").exists()


def test_all_files_that_cannot_be_read_are_named(refused, three_files, tmp_path):
    for path in three_files[1:]:
        path.write_bytes(path.read_bytes()[:4000])
    line = refused("domains", *three_files, "-k", 3, "-o", tmp_path / "out")
    assert "2 of 3 sections cannot be used" in line
    assert "s2.h5ad is truncated" in line
    assert "s3.h5ad is truncated" in line
    assert "--skip-bad" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("as_table", [False, True], ids=["files", "table"])
def test_nothing_is_left_to_go_on_with(refused, three_files, samples, tmp_path, as_table):
    for path in three_files:
        path.write_bytes(b"")
    table = samples("section,counts", "a,s1.h5ad", "b,s2.h5ad", "c,s3.h5ad")
    line = refused("domains", *([table] if as_table else three_files), "-k", 3, "-o", tmp_path / "out", "--skip-bad")
    assert "3 of 3 sections cannot be used" in line
    assert "Nothing is left to work on" in line


def disjoint_genes(three):
    three["s2"].var_names = [f"GENE{i}" for i in range(three["s2"].n_vars)]


def pixels(three):
    three["s2"].obsm["spatial"] = 4 * three["s2"].obsm["spatial"]
    three["s2"].uns["histoquilt"]["coordinates"] = {"unit": "pixel", "mpp": 0.25, "pitch_um": 100.0}


def one_z(three):
    three["s2"].obs["z_um"] = 10.0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (disjoint_genes, "3 sections together share 0 genes"),
        (pixels, "different units (micron: 's1', 's3'; pixel: 's2')"),
        (one_z, "z_um is given for 1 of 3 sections, and missing for 's1', 's3'"),
    ],
)
@pytest.mark.parametrize("as_table", [False, True], ids=["files", "table"])
def test_sections_that_do_not_belong_together(refused, three, samples, tmp_path, spoil, words, as_table):
    spoil(three)
    for name, adata in three.items():
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    files = [tmp_path / f"{name}.h5ad" for name in three]
    table = samples("section,counts", *(f"{name},{name}.h5ad" for name in three))
    line = refused("domains", *([table] if as_table else files), "-k", 3, "-o", tmp_path / "out")
    assert words in line
    assert "--separate finds the domains" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("as_table", [False, True])
def test_what_could_not_be_written_is_told_before_the_work(
    refused, three_files, samples, tmp_path, monkeypatch, as_table
):
    from histoquilt.io import _section

    def with_lists(path):
        adata = read(path)
        if path.stem == "s2":
            adata.obs["found"] = [["a", 1]] * adata.n_obs
        return adata

    read = _section.read_h5ad
    monkeypatch.setattr(_section, "read_h5ad", with_lists)
    given = [samples("section,counts", "a,s1.h5ad", "s2,s2.h5ad")] if as_table else three_files[:2]
    line = refused("domains", *given, "-k", 3, "-o", tmp_path / "out")
    assert "s2" in line
    assert "obs['found'] holds mixed values (first: \"['a', 1]\" of type list)" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["section,counts", "a,s1.h5ad", "a,s2.h5ad"], "Section names must be unique; repeated: 'a'"),
        (
            ["section,counts,z_um", "a,s1.h5ad,0", "b,s2.h5ad,"],
            "z_um is given for 1 of 2 sections, and missing for 'b'",
        ),
        (["section;counts", "a;s1.h5ad"], "separated by semicolons"),
        (["sample,path", "a,s1.h5ad"], "required column(s) missing: 'section', 'counts' (found: 'sample', 'path')"),
        ([",section,counts", "0,a,s1.h5ad"], "repeated or empty: ''. Column '1' has no name"),
        (["section,counts,_index", "a,s1.h5ad,x"], "'_index' is reserved by the file format. Rename it."),
        (["section,counts,a/b", "a,s1.h5ad,x"], "'a/b' holds a slash. Rename it."),
        (["section,counts"], "holds no section"),
        (["section,counts", "a,s1.h5ad", "b,s9.h5ad"], "s9.h5ad does not exist"),
        (["section,counts", "a,s1.h5ad", "b,./s1.h5ad"], "have the same counts, s1.h5ad"),
    ],
)
def test_bad_tables(refused, three_files, samples, tmp_path, lines, words):
    line = refused("domains", samples(*lines), "-k", 3, "-o", tmp_path / "out")
    assert "samples.csv" in line
    assert words in line
    assert not (tmp_path / "out").exists()


def test_a_table_is_the_whole_study(refused, three_files, samples, tmp_path):
    table = samples("section,counts", "a,s1.h5ad")
    assert "Give it alone" in refused("domains", table, three_files[1], "-k", 3, "-o", tmp_path / "out")
    line = refused("domains", table, "-k", 3, "-o", tmp_path / "out", "--section-key", "slice")
    assert "Leave --section-key out" in line


def test_keys_are_looked_for_in_every_section_of_a_table(refused, three_files, samples, tmp_path):
    table = samples("section,counts", "a,s1.h5ad", "b,s2.h5ad")
    line = refused("domains", table, "-k", 3, "-o", tmp_path / "out", "--layer", "raw")
    assert "2 of 2 sections cannot be used: section 'a' of samples.csv: 'raw' is not in adata.layers" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--refine", "pots"], "--refine is majority, potts or none, got 'pots'. Did you mean potts?"),
        (
            ["--links", "stak"],
            "--links is auto, stack, expression, stitched or none, got 'stak'. Did you mean stack?",
        ),
        (["--links", "stack", "--separate"], "Leave one of them out"),
        (["--save-model", "--separate"], "--save-model needs one model"),
        (["-k", "12-5"], "a range of --n-domains goes from 2 up, e.g. 5-12, got 12-5"),
        (["-k", "1-5"], "goes from 2 up"),
        (["-k", "5..12"], "a number (7), a range (5-12) or auto, got '5..12'"),
        (["-k", "2-500"], "there are only 150 spots"),
    ],
)
def test_bad_options_of_a_study(refused, three_files, tmp_path, options, words):
    assert words in refused("domains", *three_files, "-o", tmp_path / "out", *options)


def test_a_section_in_two_files(refused, three, tmp_path):
    for name in ("s1", "s2"):
        three[name].obs["slice"] = "left"
        three[name].write_h5ad(tmp_path / f"{name}.h5ad")
    files = [tmp_path / "s1.h5ad", tmp_path / "s2.h5ad"]
    line = refused("domains", *files, "-k", 3, "-o", tmp_path / "out", "--section-key", "slice")
    assert "section 'left' (obs['slice']) is in 's2' and in another input" in line
    line = refused("domains", files[0], "-k", 3, "-o", tmp_path / "out", "--section-key", "slice", "--links", "stack")
    assert "obs['slice'] names one section, left" in line


@pytest.mark.parametrize("column", ["library_id", "batch", "sample name"])
def test_two_sections_in_one_frame(section, refuse_section, column):
    other = section.copy()
    other.obsm["spatial"] = other.obsm["spatial"][:, ::-1] + 0.3
    both = ad.concat({"0": section, "1": other}, label=column, index_unique="-")
    line = refuse_section(both)
    option = f"--section-key '{column}'" if " " in column else f"--section-key {column}"
    assert f"obs['{column}'] names 2 ('0', '1')" in line
    assert f"Pass {option}, or --one-section if they are one tissue." in line


@pytest.mark.parametrize("command", ["domains", "train", "evaluate", "predict"])
def test_a_row_of_a_table_that_is_two_sections(section, refused, samples, tmp_path, ridge_model, command):
    other = section.copy()
    other.obsm["spatial"] = other.obsm["spatial"] + [31, 17]
    ad.concat({"a": section, "b": other}, label="patient_id", index_unique="-").write_h5ad(tmp_path / "two.h5ad")
    table = samples("section,counts", "one,two.h5ad")
    inputs = [ridge_model, table] if command == "predict" else [table]
    line = refused(command, *inputs, "-o", tmp_path / "out")
    assert "obs['patient_id'] names 2" in line
    assert "or pass --one-section if they are one tissue" in line


def test_one_file_to_predict_that_is_two_sections(section, refused, tmp_path, ridge_model):
    other = section.copy()
    other.obsm["spatial"] = other.obsm["spatial"] + [31, 17]
    ad.concat({"a": section, "b": other}, label="sample", index_unique="-").write_h5ad(tmp_path / "two.h5ad")
    line = refused("predict", ridge_model, tmp_path / "two.h5ad", "-o", tmp_path / "out")
    assert "obs['sample'] names 2" in line
    assert "Write each to a file of its own" in line


def test_one_section_and_a_key_of_sections(refused, section_file, tmp_path):
    line = refused(
        "domains", section_file, "-k", 3, "-o", tmp_path / "out", "--one-section", "--section-key", "section"
    )
    assert "--section-key names several. Choose one." in line
