"""Names in messages."""

from collections.abc import Iterable
from typing import Any


def listed(names: Iterable[Any], limit: int = 8) -> str:
    """Join names for a message: the first few, quoted, or 'nothing'."""
    names = [str(name) for name in names]
    shown = ", ".join(repr(name) for name in names[:limit])
    return (shown + (f", ... ({len(names)} in all)" if len(names) > limit else "")) or "nothing"
