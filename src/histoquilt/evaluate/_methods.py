"""Which methods are evaluated: those asked for by name or as factories, and the baselines that stand beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from histoquilt import models
from histoquilt._base import listed
from histoquilt.evaluate._evaluation import PLAIN_RIDGE, RIDGE
from histoquilt.models import ExpressionModel

ORACLES = ("depth_oracle", "neighbour_oracle")
# these draw nothing at random: one run stands for every seed
DETERMINISTIC = ("mean", "ridge", "knn")

Factory = Callable[[], ExpressionModel]


def _plain_ridge() -> ExpressionModel:
    return models.RidgeOnEmbedding(models.RidgeConfig.plain())


_BASELINES: dict[str, Factory] = {
    "mean": lambda: models.MeanExpression(),
    PLAIN_RIDGE: _plain_ridge,
    RIDGE: lambda: models.RidgeOnEmbedding(),
    "knn": lambda: models.NearestNeighbours(),
}
_BY_NAME: dict[str, Factory] = {
    **_BASELINES,
    "mclstexp": lambda: models.MclSTExp(),
    "spahgc": lambda: models.SpaHGC(),
}
METHOD_NAMES = tuple(_BY_NAME)


@dataclass(frozen=True)
class Contender:
    """One method as it stands in the tables."""

    label: str
    kind: str  # method or baseline
    make: Factory  # an untrained model, a fresh one for every fold and seed


def contenders(methods: Mapping[str, Factory] | Sequence[str]) -> list[Contender]:
    """Return what is evaluated, baselines first; every factory was tried once.

    Raises
    ------
    ValueError
        A name is unknown (close ones are named) or stands twice, or a label is that of a baseline or an oracle.
    TypeError
        A factory makes something else than an expression model.
    """
    if isinstance(methods, str):
        methods = [methods]
    found = [Contender(label, "baseline", make) for label, make in _BASELINES.items()]
    if isinstance(methods, Mapping):
        taken = [label for label in methods if label in (*_BASELINES, *ORACLES)]
        if taken:
            raise ValueError(
                f"The label(s) {listed(taken)} are those of baselines and oracles, which are always there. Choose "
                "others."
            )
        for label, make in methods.items():
            _check_factory(label, make)
        return found + [Contender(str(label), "method", make) for label, make in methods.items()]
    names = [str(name) for name in methods]
    for name in names:
        if name not in _BY_NAME:
            raise ValueError(unknown_method(name))
    if len(set(names)) < len(names):
        raise ValueError(
            f"Every method is evaluated once; named twice: {listed(sorted({n for n in names if names.count(n) > 1}))}."
        )
    return found + [Contender(name, "method", _BY_NAME[name]) for name in names if name not in _BASELINES]


def unknown_method(name: str) -> str:
    """Say that there is no such method, and which ones there are."""
    close = get_close_matches(name.casefold(), METHOD_NAMES, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown method {name!r}.{meant} Methods: {', '.join(METHOD_NAMES)}."


def new_model(name: str) -> ExpressionModel:
    """Return an untrained model by its short name.

    Raises
    ------
    ValueError
        The name is unknown; close ones are named.
    """
    if name not in _BY_NAME:
        raise ValueError(unknown_method(name))
    return _BY_NAME[name]()


def _check_factory(label: str, make: Any) -> None:
    if isinstance(make, ExpressionModel) or not callable(make):
        raise TypeError(
            f"methods[{label!r}] must be a function that returns a new, untrained model (a fresh one is trained for "
            f"every fold), got {type(make).__name__}. Write lambda: SpaHGC(config), or the class itself."
        )
    made = make()
    if not isinstance(made, ExpressionModel):
        raise TypeError(f"methods[{label!r}] makes a {type(made).__name__}, which is no ExpressionModel.")
