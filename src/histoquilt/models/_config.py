"""Base of the settings of every model: checked, read from names and values, and written as such."""

import json
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self, get_type_hints

from histoquilt.models._ranges import expected


class ModelConfig:
    """Base of the frozen dataclasses that hold settings; the type of a field declares its range.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import histoquilt as hq
    >>> @dataclass(frozen=True)
    ... class Config(hq.models.ModelConfig):
    ...     n_rounds: int = 2
    >>> Config.from_dict({"n_rounds": 3})
    Config(n_rounds=3)
    >>> Config.from_dict({"rounds": 3})
    Traceback (most recent call last):
        ...
    ValueError: Config has no 'rounds'. Known settings: n_rounds.
    """

    def __post_init__(self) -> None:
        declared = get_type_hints(type(self), include_extras=True)
        for field in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, field.name)
            if must := expected(value, declared[field.name]):
                raise ValueError(f"{field.name} must {must}, got {value!r}.")

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
