"""Files that are read with another one: positions of legacy ST, parts of slides."""

import pytest

import histoquilt as hq


@pytest.fixture
def names(tmp_path):
    """Names of the files beside one in a folder of ``others``."""

    def beside(name, *others, text=""):
        (tmp_path / name).write_text(text)
        for other in others:
            path = tmp_path / other
            path.parent.mkdir(exist_ok=True)
            path.touch()
        return [path.relative_to(tmp_path).as_posix() for path in hq.io.files_beside(tmp_path / name)]

    return beside


def test_parts_of_a_slide(names):
    assert names("a.mrxs", "a/Slidedat.ini", "b/Slidedat.ini") == ["a"]
    assert names("b.dcm", "c.DCM", "d.txt") == ["c.DCM"]
    assert names("a.svs", "a.mrxs") == []
    index = (
        "[Virtual Microscope Specimen]\nImageFile=a.jpg\nImageFile(1,0) = a (1,0).jpg\nMapFile=lost.jpg\nNoLayers=1\n"
    )
    assert names("a.vms", "a.jpg", "a (1,0).jpg", text=index) == ["a.jpg", "a (1,0).jpg"]


def test_folders_and_missing_files_have_nothing_beside_them(tmp_path):
    assert hq.io.files_beside(tmp_path) == []
    assert hq.io.files_beside(tmp_path / "gone.mrxs") == []


def test_digests_name_the_parts(names, tmp_path):
    from histoquilt.jobs._inputs import file_digests

    names("a.mrxs", "a/Data0000.dat")
    before = file_digests([("a", tmp_path / "a.mrxs")])
    assert [entry["path"] for entry in before] == [str(tmp_path / "a.mrxs"), str(tmp_path / "a")]
    (tmp_path / "a" / "Data0000.dat").write_text("other pixels")
    after = file_digests([("a", tmp_path / "a.mrxs")])
    assert before[0] == after[0]
    assert before[1]["sha256"] != after[1]["sha256"]
