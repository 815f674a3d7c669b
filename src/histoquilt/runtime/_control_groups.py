"""The control groups of Linux, in which containers and job schedulers keep a process within limits."""

from collections.abc import Iterator
from pathlib import Path


def groups_above(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, its own first, for cgroup versions 1 and 2.

    In a container the process's own group often appears as the topmost.

    Parameters
    ----------
    root
        Folder that contains ``proc`` and ``sys``.
    controller
        Limited resource: ``"memory"`` or ``"cpu"``.
    """
    for line in read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if number == "0" else controller)
        own = mount / path.lstrip("/")
        for group in (own, *own.parents):
            if group != mount and mount not in group.parents:
                break
            yield group


def read(file: Path) -> str:
    """Return the text of a file; nothing where there is none."""
    try:
        return file.read_text()
    except OSError:
        return ""


def number(file: Path) -> int | None:
    """Return the number in a file; ``max``, or no file, is none."""
    text = read(file).strip()
    return int(text) if text.isdigit() else None
