"""What the command was given: tables, files and folders, told apart and named."""

from pathlib import Path

import pytest

from histoquilt.jobs._inputs import Needs, check_paths, is_samples_table, read_inputs, section_names
from histoquilt.jobs.work._errors import JobError
from histoquilt.jobs.work._record import sha256

NEEDS = Needs(n_domains=3)


def test_a_table_is_known_by_its_extension(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert is_samples_table(Path("study.csv"))
    assert is_samples_table(Path("STUDY.CSV"))
    assert not is_samples_table(Path("counts.csv.gz"))
    assert not is_samples_table(tmp_path / "folder.csv")


def test_names_of_folders_keep_their_dots(tmp_path):
    (tmp_path / "patient.7").mkdir()
    (tmp_path / "brain.zarr").mkdir()
    assert section_names([tmp_path / "patient.7", tmp_path / "brain.zarr"]) == ["patient.7", "brain"]
    with pytest.raises(JobError, match=r"both named 'brain'.*rename one"):
        section_names([tmp_path / "brain.zarr", tmp_path / "brain.h5ad"])


def test_missing_paths_stop_the_run_unless_they_may_be_skipped(three_files, tmp_path):
    paths = [*three_files, tmp_path / "gone.h5ad"]
    with pytest.raises(JobError, match=r"gone.h5ad does not exist"):
        check_paths(paths)
    check_paths(paths, skip_bad=True)
    with pytest.raises(JobError, match=r"gone.h5ad does not exist"):
        check_paths(paths[-1:], skip_bad=True)  # nothing would be left


def test_sections_in_the_order_given(three_files):
    found = read_inputs(three_files[::-1], NEEDS, skip_bad=False)
    assert list(found.sections) == ["s3", "s2", "s1"]
    assert found.sources["s3"].path == three_files[2]
    assert found.digests[0] == {"section": "s3", "path": str(three_files[2]), "sha256": sha256(three_files[2])}
    assert found.skipped == {}


def test_files_that_are_skipped(three_files, tmp_path):
    three_files[1].write_bytes(b"")
    paths = [*three_files, tmp_path / "gone.h5ad"]
    with pytest.warns(UserWarning, match=r"left out: .*(s2|gone)\.h5ad"):
        found = read_inputs(paths, NEEDS, skip_bad=True)
    assert list(found.sections) == ["s1", "s3"]
    assert list(found.sources) == ["s1", "s3"]
    assert [one["section"] for one in found.digests] == ["s1", "s3"]
    assert list(found.skipped) == ["s2", "gone"]
    assert "does not exist" in found.skipped["gone"]


def test_rows_of_a_table_that_are_skipped(three_files, samples, three):
    """One that cannot be read, and one that can, but lacks what was asked for."""
    for path, name in zip(three_files[1:], ("s2", "s3"), strict=True):
        three[name].layers["raw"] = three[name].X
        three[name].write_h5ad(path)
    three_files[2].write_bytes(b"")
    table = samples("section,counts", "a,s1.h5ad", "b,s2.h5ad", "c,s3.h5ad")
    with pytest.warns(UserWarning, match="left out"):
        found = read_inputs([table], Needs(n_domains=3, layer="raw"), skip_bad=True)
    assert list(found.sections) == ["b"]
    assert sorted(found.skipped) == ["a", "c"]
    assert "'raw' is not in adata.layers" in found.skipped["a"]
    assert [one["section"] for one in found.digests] == ["samples.csv", "b"]


def test_large_counts_stay_in_their_file_where_sections_are_not_joined(section_file, monkeypatch):
    monkeypatch.setattr("histoquilt.runtime.available_bytes", lambda: 1000)
    [alone] = read_inputs([section_file], NEEDS, skip_bad=False).sections.values()
    assert alone.isbacked
    assert alone.uns["histoquilt"]["genes"]
    needs = Needs(n_domains=3, section_key="domain_true")
    [joined] = read_inputs([section_file], needs, skip_bad=False).sections.values()
    assert not joined.isbacked
