"""How much memory this process may still take, and has taken, as the operating system and its limits tell it.

Linux says it in files: what is free or can be freed at once, what the control groups of a container or a job scheduler
leave, and what ``ulimit`` allows. Other systems do not say it without further packages: there the answer is ``None``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from histoquilt.runtime._control_groups import groups_above, number, read

_ROOT = Path("/")
_LIMITS = {"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"}  # version 2, version 1


def available_bytes(root: Path = _ROOT) -> int | None:
    """Return the memory that can still be taken, or ``None`` where the system does not say.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` lie.
    """
    found = [_free(root), *_left_by_control_groups(root), *_left_by_rlimits(root)]
    known = [value for value in found if value is not None]
    return max(0, min(known)) if known else None


def peak_bytes(root: Path = _ROOT) -> int | None:
    """Return the most memory that this process has held, or ``None`` where the system does not say.

    Parameters
    ----------
    root
        Where ``proc`` lies.
    """
    kilobytes = _of_table(root / "proc/self/status", "VmHWM:")
    if kilobytes is not None:
        return kilobytes * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    # on Linux this is no less than what the process held that started this one, so it is asked last
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes


def in_words(n_bytes: float) -> str:
    """Return a size for people to read: GB of a thousand million bytes, as sellers of memory count.

    Examples
    --------
    >>> in_words(8_250_000_000), in_words(1_200_000)
    ('8.2 GB', '0.001 GB')
    """
    gigabytes = n_bytes / 1e9
    return f"{gigabytes:,.1f} GB" if gigabytes >= 0.05 else f"{gigabytes:.3f} GB"


def _free(root: Path) -> int | None:
    """Memory that the machine has free, or holds for caches that it gives up."""
    kilobytes = _of_table(root / "proc/meminfo", "MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _left_by_control_groups(root: Path) -> Iterator[int]:
    """Yield what each control group above this process leaves."""
    for group in groups_above(root, "memory"):
        for limit_file, used_file in _LIMITS.items():
            limit, used = number(group / limit_file), number(group / used_file)
            if limit is not None and used is not None:
                # pages of files are given up before the limit bites
                cached = _of_table(group / "memory.stat", "total_inactive_file")
                cached = _of_table(group / "memory.stat", "inactive_file") if cached is None else cached
                yield limit - max(0, used - (cached or 0))


def _left_by_rlimits(root: Path) -> Iterator[int]:
    """Yield what ``ulimit`` leaves: of the whole address space, and of the private part of it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, used in (("RLIMIT_AS", "VmSize:"), ("RLIMIT_DATA", "VmData:")):
        soft = resource.getrlimit(getattr(resource, limit))[0]
        kilobytes = _of_table(root / "proc/self/status", used)
        if soft != resource.RLIM_INFINITY and kilobytes is not None:
            yield soft - kilobytes * 1024


def _of_table(file: Path, name: str) -> int | None:
    """Return the number behind a name, of a file with one name and number a line."""
    for line in read(file).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return int(words[1])
    return None
