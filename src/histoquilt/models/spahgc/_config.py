"""Settings of SpaHGC."""

from dataclasses import dataclass
from typing import Literal, Self

from histoquilt.models._config import check_settings
from histoquilt.models.expression._config import ExpressionConfig


@dataclass(frozen=True)
class SpaHGCConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.SpaHGC`, with the paper's symbols.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    # inputs; neighbours are seen through edges, not as columns
    neighbours: bool = False
    n_inputs: int = 128  # principal components of the image features; 0: the features themselves
    # graph
    use_references: bool = True  # ablation: False removes all edges from references to targets
    n_references: int = 7  # k, most similar spots of other sections
    n_target_neighbours: int = 5  # nearest spots, within 1.5 pitches
    n_reference_neighbours: int = 3  # most similar references, by image and expression
    # network
    n_hidden: int = 128
    n_layers: int = 2
    n_heads: int = 4
    input_dropout: float = 0.2
    attention_dropout: float = 0.1
    # contrast between complementary masks
    target_mask_rate: float = 0.1
    reference_mask_rate: float = 0.9
    momentum: float = 0.99  # of the momentum encoder
    regress_on: Literal["unmasked", "masked"] = "unmasked"  # pass that predicts expression in training
    # loss: MSE + correlation_weight * (1 - PCC) + target_weight * L_target + reference_weight * L_reference
    correlation_weight: float = 0.5
    target_weight: float = 0.2
    reference_weight: float = 0.1
    weigh_spots: bool = True  # give spots with few counts less weight in the MSE
    # training
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    max_epochs: int = 24
    check_every: int = 6  # epochs between evaluations on held-out training sections

    @classmethod
    def published(cls) -> Self:
        """Return the paper's settings, with the faults of the released code repaired (see the module's head)."""
        return cls(
            n_inputs=0,
            fields="one",
            n_hidden=256,
            n_layers=4,
            weigh_spots=False,
            learning_rate=1e-4,
            max_epochs=200,
            check_every=10,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fields == "validate" or self.neighbours == "validate":
            raise ValueError("SpaHGC uses the inputs as given: fields and neighbours cannot be 'validate'.")
        whole = {"n_references": 1, "n_target_neighbours": 0, "n_reference_neighbours": 0, "n_inputs": 0}
        whole |= {"n_hidden": 1, "n_layers": 1, "n_heads": 1, "max_epochs": 1, "check_every": 1}
        check_settings(
            self,
            whole=whole,
            below_one=("input_dropout", "attention_dropout", "target_mask_rate", "reference_mask_rate", "momentum"),
            not_negative=("correlation_weight", "target_weight", "reference_weight", "weight_decay"),
            positive=("learning_rate",),
            choices={"regress_on": ("unmasked", "masked")},
        )
        if self.n_hidden % self.n_heads:
            raise ValueError(f"n_hidden is {self.n_hidden}, which {self.n_heads} heads cannot share.")
