"""Types of settings with the range of their values, checked by :class:`histoquilt.models.ModelConfig`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """Values that a number may have; the texts complete "must" for one number and "must be one or more"."""

    one: str
    several: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Range:
    """Return the range of whole numbers from ``least``."""
    text = f"of at least {least}"
    return Range(f"be a whole number {text}", f"whole numbers {text}", lambda value: value >= least)


Count = Annotated[int, at_least(1)]
WholeNumber = Annotated[int, at_least(0)]
Positive = Annotated[float, Range("be positive", "positive numbers", lambda value: 0 < value < math.inf)]
NotNegative = Annotated[float, Range("not be negative", "numbers of at least 0", lambda value: 0 <= value < math.inf)]
#: A share that may be 0, but not 1.
Rate = Annotated[float, Range("be at least 0 and less than 1", "shares below 1", lambda value: 0 <= value < 1)]
#: A share between 0 and 1, without the ends.
InnerRate = Annotated[float, Range("lie between 0 and 1", "shares between 0 and 1", lambda value: 0 < value < 1)]

_NAMES = {int: "be a whole number", float: "be a number", str: "be text", NoneType: "be null"}


def expected(value: Any, declared: Any) -> str | None:
    """Return what a setting of a declared type must be, as in "must be positive"; None if ``value`` is that.

    Examples
    --------
    >>> expected(0, Count), expected("7", Count), expected(7, Count)
    ('be a whole number of at least 1', 'be a whole number', None)
    >>> expected("umap", Literal["pca", "hvg"]), expected(1, bool), expected((), tuple[Positive, ...])
    ("be 'pca' or 'hvg'", 'be true or false', 'be one or more positive numbers')
    """
    kind, parts = get_origin(declared), get_args(declared)
    known = _range(declared)
    if known is not None:
        of_type = expected(value, parts[0])
        return of_type if of_type is not None or known.holds(value) else known.one
    if choices := _choices(declared):
        fits = any(type(value) is type(choice) and value == choice for choice in choices)
        words = [str(choice).lower() if isinstance(choice, bool) else repr(choice) for choice in choices]
        return None if fits else f"be {', '.join(words[:-1])} or {words[-1]}"
    if kind in (Union, UnionType):
        wanted = [expected(value, part) for part in parts]
        return None if None in wanted else " or ".join(map(str, wanted))
    if kind is tuple and not parts:
        return None if value == () else "be empty"
    if kind is tuple and (of_each := _range(parts[0])) is not None:
        fits = isinstance(value, tuple) and bool(value) and all(expected(item, parts[0]) is None for item in value)
        return None if fits else f"be one or more {of_each.several}"
    if declared not in _NAMES:  # a type of another package
        return None
    fits = isinstance(value, (int, float) if declared is float else declared) and not isinstance(value, bool)
    return None if fits else _NAMES[declared]


def _range(declared: Any) -> Range | None:
    """Return the range in a type; None if it has none."""
    return next((part for part in get_args(declared)[1:] if isinstance(part, Range)), None)


def _choices(declared: Any) -> tuple[Any, ...]:
    """Return all values that a type lists; empty for a type that has others."""
    if declared is bool:
        return (True, False)
    if get_origin(declared) is Literal:
        return get_args(declared)
    if get_origin(declared) in (Union, UnionType):
        lists = [_choices(part) for part in get_args(declared)]
        return tuple(chain.from_iterable(lists)) if all(lists) else ()
    return ()
