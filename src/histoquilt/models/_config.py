"""Base class of the settings of all models, and range checks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self


class ModelConfig:
    """Base class of the frozen dataclasses with the settings of a model."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from names and values, with defaults for the rest.

        Raises
        ------
        ValueError
            A name is unknown; the message lists the known ones.
        """
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # subclasses are dataclasses
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no {', '.join(map(repr, unknown))}. Known settings: {', '.join(known)}."
            )
        # JSON knows lists only
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> Self:
        """Read a JSON object of settings, with defaults for the rest.

        Raises
        ------
        FileNotFoundError
            The file does not exist.
        ValueError
            It is not a JSON object, or contains an unknown setting.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON: {error}.") from error
        if not isinstance(values, dict):
            raise ValueError(
                f"{path} must hold a JSON object of {cls.__name__} settings, got a {type(values).__name__}."
            )
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Return names and values that JSON can hold."""
        return asdict(self)  # type: ignore[call-overload]


def check_settings(
    config: ModelConfig,
    *,
    whole: Mapping[str, int] | None = None,  # whole numbers, and the least value of each
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    between: Sequence[str] = (),  # 0 and 1, both excluded
    below_one: Sequence[str] = (),  # 0 included
    choices: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Check the ranges of settings by name; a ``ValueError`` states range and value."""
    for name, least in (whole or {}).items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    for names, is_valid, wording in (
        (positive, lambda value: value > 0, "be positive"),
        (not_negative, lambda value: value >= 0, "not be negative"),
        (between, lambda value: 0 < value < 1, "lie between 0 and 1"),
        (below_one, lambda value: 0 <= value < 1, "be at least 0 and less than 1"),
    ):
        for name in names:
            if not is_valid(getattr(config, name)):
                raise ValueError(f"{name} must {wording}, got {getattr(config, name)!r}.")
    for name, known in (choices or {}).items():
        if getattr(config, name) not in known:
            words = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
            raise ValueError(f"{name} must be {words}, got {getattr(config, name)!r}.")
