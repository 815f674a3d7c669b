"""Memory that this process may still take, and its peak.

psutil does not know Linux control groups, by which containers and job schedulers limit memory, nor the peak of a
process on Linux: both are read from the system's files.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

_ROOT = Path("/")
_LIMITS = {"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"}  # version 2, version 1


def available_bytes(root: Path = _ROOT) -> int:
    """Return the memory left by machine, control groups and ``ulimit``; ``root`` contains ``proc`` and ``sys``.

    Examples
    --------
    >>> from histoquilt.runtime import available_bytes
    >>> available_bytes() > 2**20
    True
    """
    left = [psutil.virtual_memory().available, *_left_by_control_groups(root), *_left_by_rlimits()]
    return max(0, min(left))


def peak_bytes(root: Path = _ROOT) -> int | None:
    r"""Return the peak memory of this process, or ``None`` if unknown; ``root`` contains ``proc``.

    Examples
    --------
    >>> from histoquilt.runtime import peak_bytes
    >>> root = getfixture("tmp_path")
    >>> (root / "proc" / "self").mkdir(parents=True)
    >>> _ = (root / "proc" / "self" / "status").write_text("VmHWM:     2048 kB\n")
    >>> peak_bytes(root)
    2097152
    """
    kilobytes = _of_table(root / "proc/self/status", "VmHWM:")
    if kilobytes is not None:
        return kilobytes * 1024
    try:
        import resource
    except ImportError:  # Windows
        return getattr(psutil.Process().memory_info(), "peak_wset", None)
    # used last: on Linux it is at least the memory of the parent process
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if psutil.MACOS else 1024)  # macOS counts bytes


def in_words(n_bytes: float) -> str:
    """Return a size in GB (1e9 bytes) as text.

    Examples
    --------
    >>> in_words(8_250_000_000), in_words(1_200_000)
    ('8.2 GB', '0.001 GB')
    """
    gigabytes = n_bytes / 1e9
    return f"{gigabytes:,.1f} GB" if gigabytes >= 0.05 else f"{gigabytes:.3f} GB"


def _left_by_control_groups(root: Path) -> Iterator[int]:
    """Yield the memory left by each control group of this process."""
    for group in _groups_above(root):
        for limit_file, used_file in _LIMITS.items():
            limit, used = _read(group / limit_file).strip(), _read(group / used_file).strip()
            if limit.isdigit() and used.isdigit():  # a limit may be "max"
                # pages of files are given up before the limit bites
                cached = _of_table(group / "memory.stat", "total_inactive_file")
                cached = _of_table(group / "memory.stat", "inactive_file") if cached is None else cached
                yield int(limit) - max(0, int(used) - (cached or 0))


def _groups_above(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, innermost first, for cgroup versions 1 and 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if number == "0" else "memory")
        own = mount / path.lstrip("/")
        yield from (group for group in (own, *own.parents) if group == mount or mount in group.parents)


def _left_by_rlimits() -> Iterator[int]:
    """Yield the memory left by ``ulimit``: of the address space and of its private part. Linux only."""
    if psutil.LINUX:
        process = psutil.Process()
        used = process.memory_info()
        for limit, taken in ((psutil.RLIMIT_AS, used.vms), (psutil.RLIMIT_DATA, used.data)):
            soft = process.rlimit(limit)[0]
            if soft != psutil.RLIM_INFINITY:
                yield soft - taken


def _of_table(file: Path, name: str) -> int | None:
    """Return the number after a name in a file with one name and number per line."""
    for line in _read(file).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return int(words[1])
    return None


def _read(file: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
