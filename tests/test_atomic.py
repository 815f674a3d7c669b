"""Outputs appear whole or not at all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from histoquilt.runtime._atomic import atomic_file, atomic_folder


def fill(folder, name="new"):
    (folder / name).write_text(name)


def holds(folder):
    return sorted(path.name for path in folder.iterdir())


def test_results_are_readable_as_far_as_the_umask_lets_them_and_it_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to the whole process"))
    (tmp_path / "plain").touch()
    (tmp_path / "plain folder").mkdir()
    with atomic_file(tmp_path / "a.csv") as beside:
        beside.write_text("1")
    with atomic_folder(tmp_path / "results") as folder:
        fill(folder)
    assert (tmp_path / "a.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "results").stat().st_mode == (tmp_path / "plain folder").stat().st_mode


def test_a_file_appears_at_the_end(tmp_path):
    with atomic_file(tmp_path / "deep" / "a.csv") as beside:
        assert beside.suffix == ".csv"
        beside.write_text("1")
        assert not (tmp_path / "deep" / "a.csv").exists()
    assert (tmp_path / "deep" / "a.csv").read_text() == "1"
    assert holds(tmp_path / "deep") == ["a.csv"]


def test_a_failure_leaves_the_earlier_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a") as beside:
        beside.write_text(str(1 / 0))
    assert (tmp_path / "a").read_text() == "old"
    assert holds(tmp_path) == ["a"]


def test_results_can_be_read_by_others(tmp_path):
    umask = os.umask(0o022)
    try:
        with atomic_folder(tmp_path / "out") as folder, atomic_file(folder / "a") as beside:
            beside.write_text("1")
    finally:
        os.umask(umask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty"])
def test_a_folder_appears_at_the_end(tmp_path, exists):
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    with atomic_folder(out) as folder:
        fill(folder)
        assert not (out / "new").exists()
    assert holds(out) == ["new"]
    assert holds(tmp_path) == ["out"]


def test_an_earlier_folder_is_kept_unless_allowed(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    fill(out, "old")
    with pytest.raises(FileExistsError, match="already holds results"), atomic_folder(out):
        pytest.fail("the work was started")
    with pytest.raises(ZeroDivisionError), atomic_folder(out, overwrite=True) as folder:
        fill(folder, str(1 / 0))
    assert holds(out) == ["old"]
    with atomic_folder(out, overwrite=True) as folder:
        fill(folder)
    assert holds(out) == ["new"]
    assert holds(tmp_path) == ["out"]


def test_the_folder_that_one_stands_in_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_folder(".") as folder:
        fill(folder, "first")
    assert holds(Path.cwd()) == ["first"]
    with atomic_folder(".", overwrite=True) as folder:
        fill(folder, "second")
    assert holds(Path.cwd()) == ["second"]
    with pytest.raises(ZeroDivisionError), atomic_folder(".", overwrite=True) as folder:
        fill(folder, str(1 / 0))
    assert holds(Path.cwd()) == ["second"]


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare to mount a folder")
def test_a_mount_point_can_be_written_to(tmp_path):
    """As with ``docker run -v $PWD/out:/out``: such a folder cannot be renamed."""
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import sys; from histoquilt.runtime._atomic import atomic_folder\n"
        "with atomic_folder(sys.argv[1]) as folder: (folder / 'new').write_text('1')\n"
        "print(open(sys.argv[1] + '/new').read())"
    )
    script = f'mount -t tmpfs tmpfs {out} || exit 77; "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", code, str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("this machine does not let a user mount a folder")
    assert result.stdout == "1\n", result.stderr
