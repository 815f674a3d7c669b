"""State of a trained expression model, and its way to a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from histoquilt.models.expression._depth_head import DepthHead
from histoquilt.models.expression._inner_validation import Reliability
from histoquilt.models.expression._inputs import ExpressionInputs
from histoquilt.models.expression.unlike._embedding import TrainingDistribution
from histoquilt.models.expression.unlike._stain import StainDistribution
from histoquilt.models.expression.unlike._transfer import TransferMeasure
from histoquilt.train import strip_prefix

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MethodState:
    """What a method learnt, in the forms that a checkpoint holds.

    Attributes
    ----------
    weights
        State of networks.
    arrays
        Fitted arrays.
    settings
        Choices, ready for JSON.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> state = hq.models.MethodState(arrays={"median": np.zeros(3)}, settings={"k": 5})
    >>> joined = hq.models.MethodState.join({"first": state, "second": state})
    >>> list(joined.arrays), joined.member("second").settings
    (['first.median', 'second.median'], {'k': 5})
    """

    weights: "dict[str, Tensor]" = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def join(cls, members: "Mapping[str, MethodState]") -> "MethodState":
        """Join the states of members by name; :meth:`member` returns each."""
        joined = cls(settings={name: of_member.settings for name, of_member in members.items()})
        for member, of_member in members.items():
            joined.weights.update({f"{member}.{name}": value for name, value in of_member.weights.items()})
            joined.arrays.update({f"{member}.{name}": value for name, value in of_member.arrays.items()})
        return joined

    def member(self, name: str) -> "MethodState":
        """Return the state of a member of a joined state."""
        return MethodState(strip_prefix(self.weights, name), strip_prefix(self.arrays, name), self.settings[name])


@dataclass(frozen=True)
class FittedExpression:
    """State of a trained expression model: what all methods share, and what the method learnt.

    Attributes
    ----------
    genes
        Names of the genes of the panel.
    symbols
        Display names of the panel, if the training sections have them.
    inputs
        Fitted conversion of a section to arrays.
    distribution
        Distribution of the training embeddings.
    stain
        Distribution of the stain of the training sections; ``None`` if not all of them have it.
    depth_head
        Prediction of the counts of a spot; ``None`` if no training section had raw counts.
    transfer
        Components of the training features, and how much of left-out training sections they cover.
    reliability
        Accuracy of each gene's prediction on held-out training sections.
    pitch_um
        Median distance between neighbouring training spots.
    spatial_key, section_key, layer
        Keys of coordinates, section names and measured expression.
    learnt
        Fitted state that the method's ``fit_arrays`` returned.
    """

    genes: list[str]
    symbols: list[str] | None
    inputs: ExpressionInputs
    distribution: TrainingDistribution
    stain: StainDistribution | None
    depth_head: DepthHead | None
    transfer: TransferMeasure
    reliability: Reliability
    pitch_um: float
    spatial_key: str
    section_key: str
    layer: str | None
    learnt: Any = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the shared arrays of a checkpoint, named by part."""
        optional = {"stain": self.stain, "depth_head": self.depth_head}
        return {
            "inputs.mean": self.inputs.mean,
            "inputs.scale": self.inputs.scale,
            "reliability.correlation": self.reliability.correlation,
            "reliability.adjusted": self.reliability.adjusted,
            "reliability.beats_mean": self.reliability.beats_mean,
            **{f"distribution.{name}": value for name, value in self.distribution.arrays().items()},
            **{
                f"{part}.{name}": value
                for part, fitted in optional.items()
                if fitted is not None
                for name, value in fitted.arrays().items()
            },
            **{f"transfer.{name}": value for name, value in self.transfer.arrays().items()},
        }

    def settings(self) -> dict[str, Any]:
        """Return the other shared values, ready for JSON."""
        inputs = {name: value for name, value in asdict(self.inputs).items() if name not in ("mean", "scale")}
        return {
            "symbols": self.symbols,
            "inputs": inputs,
            "n_folds": self.reliability.n_folds,
            "pitch_um": self.pitch_um,
            "spatial_key": self.spatial_key,
            "section_key": self.section_key,
            "layer": self.layer,
        }

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray], genes: list[str]) -> "FittedExpression":
        """Rebuild from :meth:`settings` and :meth:`arrays`.

        Raises
        ------
        KeyError, TypeError, ValueError
            The parts do not belong together.
        """
        kept = settings["inputs"]
        inputs = ExpressionInputs(
            tuple(kept["reps"]),
            tuple(kept["records"]),
            tuple(kept["widths"]),
            kept["neighbours"],
            kept["own_moments"],
            **strip_prefix(arrays, "inputs"),
        )
        found = Reliability(n_folds=settings["n_folds"], **strip_prefix(arrays, "reliability"))
        symbols = settings["symbols"]
        stain, depth_head = strip_prefix(arrays, "stain"), strip_prefix(arrays, "depth_head")
        if inputs.mean.shape != (inputs.n_inputs,) or {len(found.correlation), len(found.adjusted)} != {len(genes)}:
            raise ValueError("the arrays fit neither the embeddings nor the genes")
        if symbols is not None and len(symbols) != len(genes):
            raise ValueError("there are not as many symbols as genes")
        return cls(
            genes=genes,
            symbols=symbols,
            inputs=inputs,
            distribution=TrainingDistribution.restore(strip_prefix(arrays, "distribution")),
            stain=StainDistribution.restore(stain) if stain else None,
            depth_head=DepthHead.restore(depth_head) if depth_head else None,
            transfer=TransferMeasure.restore(strip_prefix(arrays, "transfer")),
            reliability=found,
            pitch_um=settings["pitch_um"],
            spatial_key=settings["spatial_key"],
            section_key=settings["section_key"],
            layer=settings["layer"],
        )
