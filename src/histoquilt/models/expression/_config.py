"""Settings that all expression models share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from histoquilt.models._config import ModelConfig
from histoquilt.models._ranges import Count

FEW_INDIVIDUALS = 3  # inner validation among fewer cannot judge whether training moments carry over to another one


@dataclass(frozen=True)
class ExpressionConfig(ModelConfig):
    """Settings of every model that predicts expression from embeddings; each method adds its own.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> config = hq.models.ExpressionConfig(n_genes=50, fields="one")
    >>> config.n_genes, config.fields, config.neighbours
    (50, 'one', True)
    >>> config.check_inputs_are_given()  # no error: nothing is left to inner validation
    """

    n_genes: Count = 200  # genes by highest training mean and by highest variance, each
    fields: Literal["one", "several", "validate"] = "several"  # inputs: the first of the embeddings, or all of them
    neighbours: bool | Literal["validate"] = True  # append the mean embedding of a spot's neighbours
    # standardise each section by its own moments; "auto": if training holds fewer than three individuals, else inner
    # validation chooses where the method tries both
    own_moments: bool | Literal["auto"] = "auto"

    def check_inputs_are_given(self) -> None:
        """Raise ``ValueError`` if a choice of inputs is left to inner validation, for methods that do not choose."""
        if "validate" in (self.fields, self.neighbours):
            method = type(self).__name__.removesuffix("Config")
            raise ValueError(f"{method} uses the inputs as given: fields and neighbours cannot be 'validate'.")


def moments_to_use(config: ExpressionConfig, n_individuals: int) -> dict[str, Any]:
    """Return by which moments the inputs of all methods are standardised, and why.

    Returns
    -------
    ``own`` (bool), ``n_individuals`` and ``why``, for the provenance of a model.
    """
    few = n_individuals < FEW_INDIVIDUALS
    if config.own_moments != "auto":
        why = "set by own_moments"
    elif few:
        why = f"training holds {n_individuals} known individual(s), fewer than {FEW_INDIVIDUALS}: too few to choose"
    else:
        why = "chosen on inner validation where the method tries both"
    return {"own": few if config.own_moments == "auto" else config.own_moments, "n_individuals": n_individuals,
            "why": why}  # fmt: skip


def moments_used(chosen: Mapping[str, Any], own: bool) -> bool | str | dict[str, Any]:
    """Return whether a fitted method standardises sections by their own moments.

    Parameters
    ----------
    chosen
        Settings that the method chose; of a stack with those of its ``members``.
    own
        True if its inputs are standardised so, which holds for methods that chose nothing else.

    Returns
    -------
    True or false, ``"both"`` if settings of either kind are averaged; of a stack the same for each member with a
    weight, by name.

    Examples
    --------
    >>> moments_used({"members": {"knn": {"own_moments": True}, "mean": {}}}, own=False)
    {'knn': True, 'mean': False}
    """
    if "members" in chosen:
        return {name: moments_used(of_member, own) for name, of_member in chosen["members"].items()}
    found = {bool(one["own_moments"]) for one in (chosen, *chosen.get("averaged", ())) if "own_moments" in one}
    return own if not found else "both" if len(found) > 1 else found.pop()
