"""The results folder: what is there is safe, and what is written is whole or absent."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from histoquilt.jobs.work import _output
from histoquilt.jobs.work._errors import JobError, writing
from histoquilt.jobs.work._output import check_out


def earlier_run(folder: Path, *more: str) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"outputs": ["domains.csv"]}))
    for name in ("domains.csv", *more):
        (folder / name).touch()
    return folder


def test_a_new_folder_is_fine_and_not_made_yet(tmp_path):
    check_out(tmp_path / "new" / "deep", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_fine(tmp_path):
    (tmp_path / "out").mkdir()
    check_out(tmp_path / "out", overwrite=False)


def test_an_earlier_run_is_refused_and_replaced_on_demand(tmp_path):
    out = earlier_run(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"already holds results.*overwrite=True"):
        check_out(out, overwrite=False)
    check_out(out, overwrite=True)


def test_overwriting_never_deletes_what_is_no_result(tmp_path):
    out = earlier_run(tmp_path / "out", "thesis.docx")
    with pytest.raises(JobError, match=r"not results of histoquilt \(first: thesis.docx\)"):
        check_out(out, overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(JobError, match=r"first: cat.jpg"):
        check_out(tmp_path / "photos", overwrite=True)


def test_overwriting_never_deletes_an_input(tmp_path):
    out = earlier_run(tmp_path / "out")
    with pytest.raises(JobError, match="which overwrite=True would replace"):
        check_out(out, overwrite=True, inputs=[out / "domains.csv"])


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError):
        check_out(tmp_path / "out", overwrite=False)
    with pytest.raises(JobError, match="is a file; out= names a folder"):
        check_out(tmp_path / "out", overwrite=True)
    with pytest.raises(JobError, match=r"cannot write to .*out"):
        check_out(tmp_path / "out" / "below", overwrite=False)


def test_a_folder_that_nobody_can_write_to(tmp_path, refused, section_file):
    folder = Path("/proc/self") if Path("/proc/self").exists() else tmp_path / "locked"
    if not folder.exists():
        folder.mkdir(mode=0o500)
    line = refused("domains", section_file, "-k", 3, "-o", folder / "results")
    assert "cannot write to /proc/self" in line or "locked" in line
    assert "Choose another --out" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(JobError, match=r"Permission denied. Choose another out="):
        check_out(tmp_path / "locked" / "results", overwrite=False)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Free some space"),
        (RuntimeError("Can't decrement id ref count (unable to close file, errno = 28)"), "Free some space"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied. Check its permissions"),
    ],
)
def test_a_failed_write_says_what_to_do(tmp_path, error, words):
    with pytest.raises(JobError, match=words), writing(tmp_path):
        raise error


def test_other_errors_are_not_taken_for_failed_writes(tmp_path):
    with pytest.raises(ValueError, match="something else"), writing(tmp_path):
        raise ValueError("something else")


# the program, with the work taken out: only its writing is looked at here
FULL_DISK = """
import sys
from pathlib import Path
import histoquilt.report
from histoquilt.cli import _doctor, main
from histoquilt.jobs.work._output import DomainResults, write_domain_results
from histoquilt.jobs.work._options import RunConfig
from histoquilt.jobs.work._run import start_run
from histoquilt.io import read_h5ad

out = Path(sys.argv[2])

def write_only():
    adata = read_h5ad(sys.argv[1])
    adata.obs["domain"] = adata.obs["domain_true"]
    with start_run("doctor", {"out": out}, RunConfig()) as run, run.results() as folder:
        write_domain_results(folder, DomainResults({"toy": adata}, title="t"), dict)
    yield "written"

_doctor.examine = write_only
main(["doctor"])
"""


def test_a_file_size_limit_leaves_nothing_behind(tmp_path, section_file):
    """The system refuses to write on in the middle of a file, as it does on a full disk."""
    place = tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-c", FULL_DISK, str(section_file), str(place / "out")]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
    result = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "could not be written" in result.stderr
    assert "nothing was left behind" in result.stderr
    assert list(place.iterdir()) == []


# HDF5 fails in another way at each size; one process each, forked from one that has imported what it needs
SMALL_DISKS = FULL_DISK.replace(
    'main(["doctor"])',
    """
import os, subprocess, matplotlib.pyplot, torch
disk = out.parent
for size in sys.argv[3:]:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]).returncode:
        sys.exit(77)
    process = os.fork()
    if not process:
        main(["doctor"])
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    print(size, code, os.listdir(disk), file=sys.stdout, flush=True)
    subprocess.run(["umount", disk], check=True)
""",
)


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare to mount a small disk")
def test_a_full_disk_leaves_nothing_behind(tmp_path, section_file):
    disk = tmp_path / "disk"
    disk.mkdir()
    sizes = ["8k", "32k", "96k"]
    command = ["unshare", "-rm", sys.executable, "-c", SMALL_DISKS, section_file, disk / "out", *sizes]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("this machine does not let a user mount a small disk")
    assert result.stdout.splitlines() == [f"{size} 2 []" for size in sizes], "something was left on the disk"
    told = result.stderr.splitlines()
    assert len(told) == len(sizes), result.stderr
    assert all("No space left on device. Free some space" in line for line in told)


def test_names_in_the_table(section):
    section.obs["domain"] = section.obs["domain_true"]
    table = _output.domain_table({"a": section, "b": section})
    assert list(table) == ["section", "obs_name", "domain"]
    assert len(table) == 2 * section.n_obs
    assert list(table["section"].unique()) == ["a", "b"]
    section.obs["slice"] = ["s1", "s2"] * (section.n_obs // 2)
    assert list(_output.domain_table({"a": section}, "slice")["section"][:3]) == ["s1", "s2", "s1"]
