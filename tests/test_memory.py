"""What the system says about memory: the machine, control groups of both versions, and limits of the process."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from histoquilt.runtime._memory import available_bytes, in_words, peak_bytes

GB = 10**9


@pytest.fixture
def machine(tmp_path):
    """A tree of files as Linux shows them; ``machine("proc/meminfo", text)`` writes one and returns the root."""

    def write(name: str, text: str):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    return write


@pytest.fixture(autouse=True)
def free(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=16 * GB))


def test_what_the_machine_has_free(tmp_path):
    assert available_bytes(tmp_path) == 16 * GB


def test_a_control_group_of_version_2_and_the_one_above_it(machine):
    machine("proc/self/cgroup", "0::/job/step\n")
    machine("sys/fs/cgroup/job/step/memory.max", "max\n")
    machine("sys/fs/cgroup/job/step/memory.current", f"{3 * GB}\n")
    machine("sys/fs/cgroup/job/memory.max", f"{8 * GB}\n")
    machine("sys/fs/cgroup/job/memory.stat", f"anon 1\ninactive_file {GB}\n")
    root = machine("sys/fs/cgroup/job/memory.current", f"{3 * GB}\n")
    assert available_bytes(root) == 6 * GB  # 8 less 3, of which 1 is cache


def test_a_control_group_of_version_1_seen_from_inside_its_container(machine):
    machine("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/abc\n")
    machine("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{4 * GB}\n")
    root = machine("sys/fs/cgroup/memory/memory.usage_in_bytes", f"{GB}\n")
    assert available_bytes(root) == 3 * GB


def test_a_group_over_its_limit_leaves_nothing(machine):
    machine("proc/self/cgroup", "0::/\n")
    machine("sys/fs/cgroup/memory.max", "1000\n")
    assert available_bytes(machine("sys/fs/cgroup/memory.current", "2000\n")) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_limits_of_the_process_count():
    code = (
        "import resource, histoquilt.runtime._memory as m\n"
        "before = m.available_bytes(); limit = 2**29\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
        "print(before > 0 and m.available_bytes() < limit)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_the_peak_is_read_where_the_system_writes_it(machine):
    assert peak_bytes(machine("proc/self/status", "VmPeak:\t9 kB\nVmHWM:\t  2048 kB\n")) == 2**21


def test_the_peak_without_that_file_is_what_the_system_counts(tmp_path):
    assert peak_bytes(tmp_path) > 10 * 2**20


def test_sizes_in_words():
    assert in_words(1234.5 * GB) == "1,234.5 GB"
