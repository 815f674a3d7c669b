"""Options that ``train``, ``predict`` and ``evaluate`` share, read from text before anything heavy is imported."""

import math
from pathlib import Path

from histoquilt._base import EXPRESSION_MODELS
from histoquilt.cli._errors import CommandError
from histoquilt.cli._inputs import is_samples_table


def parse_methods(text: str) -> list[str]:
    """Read ``--methods``: short names, separated by commas.

    Examples
    --------
    >>> parse_methods("spahgc, knn")
    ['spahgc', 'knn']
    """
    names = listed(text, "--methods")
    for name in names:
        check_method(name, "--methods")
    return list(dict.fromkeys(names))


def check_method(name: str, option: str) -> None:
    """Raise for a method that there is none of, naming a close one."""
    if name not in EXPRESSION_MODELS:
        raise CommandError(f"{option}: {EXPRESSION_MODELS.unknown(name)}")


def parse_fields(text: str | None) -> list[float] | None:
    """Read ``--field-um``: microns, separated by commas; the first is the one patch of single-patch methods.

    Examples
    --------
    >>> parse_fields("200,100,400")
    [200.0, 100.0, 400.0]
    """
    if text is None:
        return None
    fields = []
    for part in listed(text, "--field-um"):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise CommandError(f"--field-um is one or more widths in microns (200,100,400), got {part!r}.")
        fields.append(value)
    if len(set(fields)) < len(fields):
        raise CommandError(f"--field-um names a width twice: {text}.")
    return fields


def parse_keys(text: str | None) -> list[str] | None:
    """Read ``--use-rep``: keys in ``obsm``, separated by commas."""
    return None if text is None else listed(text, "--use-rep")


def parse_seeds(seeds: str | None, seed: int) -> list[int]:
    """Read ``--seeds``, several numbers, or take ``--seed``.

    Examples
    --------
    >>> parse_seeds("0,1,2", 0), parse_seeds(None, 7)
    ([0, 1, 2], [7])
    """
    if seeds is None:
        return [seed]
    found = listed(seeds, "--seeds")
    if not all(part.isascii() and part.isdigit() and int(part) < 2**32 for part in found):
        raise CommandError(f"--seeds is one or more whole numbers (0,1,2), got {seeds!r}.")
    if len(set(map(int, found))) < len(found):
        raise CommandError(f"--seeds names a seed twice: {seeds}.")
    return [int(part) for part in found]


def check_table(path: Path) -> None:
    """Raise unless an input is a table of samples that is there."""
    if not path.exists():
        raise CommandError(f"{path} does not exist (looked in {path.absolute().parent}). Check the path.")
    if not is_samples_table(path):
        raise CommandError(
            f"{path} is no table of samples. Name the sections in a samples.csv: one row each, with the columns "
            "section, counts, image, patient."
        )


def check_encoder_or_keys(encoder: str | None, fields: str | None, use_rep: str | None) -> None:
    """Raise where embeddings are to be made and taken as they are at once."""
    if use_rep is not None and (encoder is not None or fields is not None):
        other = "--encoder" if encoder is not None else "--field-um"
        raise CommandError(f"--use-rep takes embeddings that are there, and {other} makes new ones. Choose one.")


def listed(text: str, option: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise CommandError(f"{option} is one or more names separated by commas, got {text!r}.")
    return parts
