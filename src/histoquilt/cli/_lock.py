"""One run at a time works in a progress folder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from histoquilt.cli._errors import CommandError

LOCK, OWNER = "lock", "owner.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and hold it: its file ``owner.json`` says which process works there.

    The lock of a process that is gone is taken over: the system releases it with the process. That of another host
    is not, because only that host knows.

    Raises
    ------
    CommandError
        Another run holds it.
    """
    lock = _hold(folder)
    path = folder / OWNER
    try:
        owner = _owner(folder)
        if owner and owner.get("host") != socket.gethostname():
            raise CommandError(
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
    """Lock the folder, again where the run before has just removed it."""
    lock = FileLock(folder / LOCK, timeout=0)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise CommandError(
                f"another run works on {folder}: process {_owner(folder).get('pid', 'unknown')} on this machine. Wait "
                "for it, or choose another --out."
            ) from error
        except FileNotFoundError:
            continue
        return lock


def _owner(folder: Path) -> dict[str, Any]:
    """Read who holds the folder; nothing where it is new, or was cut off."""
    try:
        found = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
