"""Parts of messages: lists of names, and advice as Python arguments or command-line options."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any

# control characters but line feed and tab, and those that turn the direction of text
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_AT_A_COMMAND: ContextVar[bool] = ContextVar("at_a_command", default=False)


def listed(names: Iterable[Any], limit: int = 8) -> str:
    """Join names for a message: the first few, quoted, or 'nothing'.

    Examples
    --------
    >>> from histoquilt._base import listed
    >>> listed(["s1", "s2"]), listed("abcd", limit=2), listed([])
    ("'s1', 's2'", "'a', 'b', ... (4 in all)", 'nothing')
    """
    names = [str(name) for name in names]
    shown = ", ".join(repr(name) for name in names[:limit])
    return (shown + (f", ... ({len(names)} in all)" if len(names) > limit else "")) or "nothing"


def printable(text: str) -> str:
    r"""Return text of others with escapes in place of characters that a terminal would obey.

    Examples
    --------
    >>> from histoquilt._base import printable
    >>> print(printable("cc-by\x1b[2J"))
    cc-by\x1b[2J
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def close_matches(name: str, known: Iterable[str], n: int = 1, *, cutoff: float = 0.6) -> list[str]:
    """Return the known names that a misspelt one may mean, best first; upper and lower case are alike.

    >>> close_matches("Rigde", ["mean", "ridge", "knn"])
    ['ridge']
    """
    by_plain = {one.casefold(): one for one in known}
    return [by_plain[found] for found in get_close_matches(name.casefold(), by_plain, n=n, cutoff=cutoff)]


@contextmanager
def at_a_command(at: bool = True) -> Iterator[None]:
    """Make :func:`argument` and :func:`either` return options while the block runs.

    Examples
    --------
    >>> from histoquilt._base import argument, at_a_command
    >>> argument("section_key")
    'section_key='
    >>> with at_a_command():
    ...     argument("section_key")
    '--section-key'
    """
    token = _AT_A_COMMAND.set(at)
    try:
        yield
    finally:
        _AT_A_COMMAND.reset(token)


def is_at_a_command() -> bool:
    """Return whether advice is given as command-line options.

    Examples
    --------
    >>> from histoquilt._base import at_a_command, is_at_a_command
    >>> is_at_a_command()
    False
    >>> with at_a_command():
    ...     is_at_a_command()
    True
    """
    return _AT_A_COMMAND.get()


def argument(name: str, value: Any = None) -> str:
    """Return how an argument is passed: ``layer=`` in Python, ``--layer`` on the command line; True is a flag there.

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
    """Return the advice for Python, or that for the command line.

    Examples
    --------
    >>> from histoquilt._base import at_a_command, either
    >>> either("pass denoise=False", "pass --denoise none")
    'pass denoise=False'
    >>> with at_a_command():
    ...     either("pass denoise=False", "pass --denoise none")
    'pass --denoise none'
    """
    return command if is_at_a_command() else python


def message_of(error: BaseException) -> str:
    """Return the message of an error; ``str()`` of a plain ``KeyError`` puts it in quotes.

    >>> message_of(KeyError("There is no such gene."))
    'There is no such gene.'
    """
    if isinstance(error, KeyError) and not isinstance(error, MissingKey) and error.args:
        return str(error.args[0])
    return str(error)


class MissingKey(KeyError):  # noqa: N818  # the key is missing, and that is the error
    """Error about a missing key, with the place, the available keys, and advice in the words of :func:`argument`.

    >>> print(MissingKey("X_pca", "adata.obsm", ["spatial"], f"Pass {argument('use_rep')}."))
    'X_pca' is not in adata.obsm (found: 'spatial'). Pass use_rep=.
    """

    def __init__(self, key: str, where: str, available: Iterable[Any], remedy: str = "") -> None:
        self.key, self.where, self.available, self.remedy = key, where, list(available), remedy
        super().__init__(key, where, self.available, remedy)

    def __str__(self) -> str:
        return f"{self.key!r} is not in {self.where} (found: {listed(self.available)}). {self.remedy}".rstrip()
