"""One run at a time works in a progress folder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from histoquilt.cli._errors import CommandError

LOCK = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and hold it: its file ``lock`` says which process works there.

    The lock of a process that is gone is taken over: the system releases it with the process. That of another host
    is not, because only that host knows.

    Raises
    ------
    CommandError
        Another run holds it; or this is Windows, which has no such locks.
    """
    handle = _hold(folder)
    path = folder / LOCK
    with handle:
        owner = _owner(handle)
        if owner and owner.get("host") != socket.gethostname():
            raise CommandError(
                f"another run works on {folder}: process {owner.get('pid')} on {owner.get('host')}, seen from "
                f"{socket.gethostname()}. Wait for it; or, where it is gone, delete {path} and start again."
            )
        handle.seek(0)
        handle.truncate()
        handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        handle.flush()
        try:
            yield
        finally:
            if _is_at(handle, path):  # else it was removed with the folder, and another run may be there
                path.unlink(missing_ok=True)


def _hold(folder: Path) -> IO[str]:
    """Open the file and lock it, again where the run before has just removed it."""
    try:
        import fcntl
    except ImportError as error:
        raise CommandError(
            "--resume holds its folder by a lock that Windows does not have. Leave --resume out, or run under WSL."
        ) from error
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(handle)
            handle.close()
            raise CommandError(
                f"another run works on {folder}: process {owner.get('pid', 'unknown')} on this machine. Wait for it, "
                "or choose another --out."
            ) from error
        if _is_at(handle, path):
            return handle
        handle.close()


def _is_at(handle: IO[str], path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner(handle: IO[str]) -> dict[str, Any]:
    """Read who holds the lock; nothing where it is new, or was cut off."""
    handle.seek(0)
    try:
        found = json.loads(handle.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
