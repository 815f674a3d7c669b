"""Methods of an evaluation: those requested by name or as factories, and the baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histoquilt._base import EXPRESSION_MODELS, listed
from histoquilt.evaluate._evaluation import PLAIN_RIDGE, PREDICTED_DEPTH, REDUCED_RANK_RIDGE, RIDGE
from histoquilt.models import ExpressionModel, Stack

ORACLES = ("depth_oracle", "neighbour_oracle")

Factory = Callable[[], ExpressionModel]


_BASELINES = ("mean", PREDICTED_DEPTH, PLAIN_RIDGE, RIDGE, REDUCED_RANK_RIDGE, "knn_cosine", "knn")


@dataclass(frozen=True)
class Contender:
    """A method of an evaluation.

    Examples
    --------
    >>> from histoquilt.evaluate import Contender
    >>> from histoquilt.models import RidgeOnEmbedding
    >>> contender = Contender("my ridge", "method", RidgeOnEmbedding)
    >>> contender.make().method, contender.requested
    ('ridge', True)
    """

    label: str
    kind: str  # method or baseline
    make: Factory  # an untrained model, a fresh one for every fold and seed
    requested: bool = True  # baselines and members of a stack are left out if a fold cannot train them


def contenders(methods: Mapping[str, Factory] | Sequence[str]) -> list[Contender]:
    """Return the methods to evaluate, baselines first and members of stacks last, after calling every factory once.

    Raises
    ------
    ValueError
        A name is unknown or repeated, or a label is that of a baseline or an oracle.
    TypeError
        A factory does not make an expression model.

    Examples
    --------
    >>> from histoquilt.evaluate import contenders
    >>> [(contender.label, contender.kind) for contender in contenders(["mclstexp"])][-2:]
    [('knn', 'baseline'), ('mclstexp', 'method')]
    """
    if isinstance(methods, str):
        methods = [methods]
    found = [Contender(label, "baseline", EXPRESSION_MODELS.load(label), requested=False) for label in _BASELINES]
    if isinstance(methods, Mapping):
        taken = [label for label in methods if label in (*_BASELINES, *ORACLES)]
        if taken:
            raise ValueError(
                f"The label(s) {listed(taken)} are those of baselines and oracles, which are always there. Choose "
                "others."
            )
        for label, make in methods.items():
            _check_factory(label, make)
        return _with_members(found + [Contender(str(label), "method", make) for label, make in methods.items()])
    names = [str(name) for name in methods]
    made = {name: EXPRESSION_MODELS.load(name) for name in names}
    for name, make in made.items():
        _check_factory(name, make)
    if len(set(names)) < len(names):
        raise ValueError(
            f"Every method is evaluated once; named twice: {listed(sorted({n for n in names if names.count(n) > 1}))}."
        )
    return _with_members(found + [Contender(name, "method", made[name]) for name in names if name not in _BASELINES])


def _with_members(found: list[Contender]) -> list[Contender]:
    """Add the members of stacks that are not contenders already."""
    stacks = [model for one in found if isinstance(model := one.make(), Stack)]
    labels = {one.label for one in found}
    added = dict.fromkeys(name for stack in stacks for name in stack.config.members if name not in labels)
    return found + [Contender(name, "method", EXPRESSION_MODELS.load(name), requested=False) for name in added]


def new_model(name: str) -> ExpressionModel:
    """Return an untrained model by its short name.

    Raises
    ------
    ValueError
        The name is unknown; close ones are named.

    Examples
    --------
    >>> from histoquilt.evaluate import new_model
    >>> new_model("knn").config.k
    (10, 20, 40, 80)
    >>> new_model("kmn")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: Unknown expression model 'kmn'. Did you mean 'knn'? Known: mean, predicted_depth, ...
    """
    return EXPRESSION_MODELS.load(name)()


def _check_factory(label: str, make: Any) -> None:
    if isinstance(make, ExpressionModel) or not callable(make):
        raise TypeError(
            f"methods[{label!r}] must be a function that returns a new, untrained model (a fresh one is trained for "
            f"every fold), got {type(make).__name__}. Write lambda: SpaHGC(config), or the class itself."
        )
    made = make()
    if not isinstance(made, ExpressionModel):
        raise TypeError(f"methods[{label!r}] makes a {type(made).__name__}, which is not an ExpressionModel.")
