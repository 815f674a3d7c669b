"""Lock of a progress folder: one run at a time works in it."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from histoquilt._base import argument
from histoquilt.jobs.work._errors import JobError

LOCK, OWNER = "lock", "owner.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create and lock a folder; its file ``owner.json`` names the process that works there.

    The system releases the lock of a process that ended. The lock of another host is respected until its
    ``owner.json`` is deleted, because only that host knows whether the process still runs.

    Raises
    ------
    JobError
        Another run holds the lock.
    """
    lock = _hold(folder)
    path = folder / OWNER
    try:
        owner = _owner(folder)
        if owner and owner.get("host") != socket.gethostname():
            raise JobError(
                f"another run works on {folder}: process {owner.get('pid')} on {owner.get('host')}, seen from "
                f"{socket.gethostname()}. Wait for it; or, where it is gone, delete {path} and start again."
            )
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # Windows removes no file that is open
                (folder / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()


def _hold(folder: Path) -> FileLock:
    """Lock the folder; try again if the previous run has just removed it."""
    lock = FileLock(folder / LOCK, timeout=0)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise JobError(
                f"another run works on {folder}: process {_owner(folder).get('pid', 'unknown')} on this machine. Wait "
                f"for it, or choose another {argument('out')}."
            ) from error
        except FileNotFoundError:
            continue
        return lock


def _owner(folder: Path) -> dict[str, Any]:
    """Return the content of ``owner.json``, empty if it is missing or incomplete."""
    try:
        found = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
