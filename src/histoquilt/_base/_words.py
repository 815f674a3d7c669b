"""Advice in the user's own words: arguments where Python is written, options where a command is typed."""

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from histoquilt._base._text import listed

_AT_A_COMMAND: ContextVar[bool] = ContextVar("at_a_command", default=False)


@contextmanager
def at_a_command(at: bool = True) -> Iterator[None]:
    """Have :func:`argument` and :func:`either` speak of options while the block runs."""
    token = _AT_A_COMMAND.set(at)
    try:
        yield
    finally:
        _AT_A_COMMAND.reset(token)


def is_at_a_command() -> bool:
    """Return whether advice is given to somebody who typed a command."""
    return _AT_A_COMMAND.get()


def argument(name: str, value: Any = None) -> str:
    """Return how an argument is passed: ``layer=`` in Python, ``--layer`` at a command.

    Parameters
    ----------
    name
        Name of the argument; the option has dashes for its underscores.
    value
        Value to pass; a truth value is a flag at a command.

    Examples
    --------
    >>> argument("section_key", "library_id")
    "section_key='library_id'"
    >>> with at_a_command():
    ...     argument("section_key", "library id"), argument("one_section", True), argument("layer")
    ("--section-key 'library id'", '--one-section', '--layer')
    """
    if not is_at_a_command():
        return f"{name}=" if value is None else f"{name}={value!r}"
    option = "--" + name.replace("_", "-")
    return option if value is None or value is True else f"{option} {shlex.quote(str(value))}"


def either(python: str, command: str) -> str:
    """Return the one of two pieces of advice that is for Python, or for a command."""
    return command if is_at_a_command() else python


def message_of(error: BaseException) -> str:
    """Return what an error says; the ``str()`` of a plain ``KeyError`` is its message in quotes.

    Examples
    --------
    >>> message_of(KeyError("There is no such gene."))
    'There is no such gene.'
    """
    if isinstance(error, KeyError) and not isinstance(error, MissingKey) and error.args:
        return str(error.args[0])
    return str(error)


class MissingKey(KeyError):  # noqa: N818  # the key is missing, and that is the error
    """A key that is not where it is looked for.

    Parameters
    ----------
    key
        The key.
    where
        Where it was looked for, e.g. ``"adata.obsm"``.
    available
        Keys that are there.
    remedy
        What to do, in the words of :func:`argument`.

    Examples
    --------
    >>> print(MissingKey("X_pca", "adata.obsm", ["spatial"], f"Pass {argument('use_rep')}."))
    'X_pca' is not in adata.obsm (found: 'spatial'). Pass use_rep=.
    """

    def __init__(self, key: str, where: str, available: Iterable[Any], remedy: str = "") -> None:
        self.key, self.where, self.available, self.remedy = key, where, list(available), remedy
        super().__init__(key, where, self.available, remedy)

    def __str__(self) -> str:
        return f"{self.key!r} is not in {self.where} (found: {listed(self.available)}). {self.remedy}".rstrip()
