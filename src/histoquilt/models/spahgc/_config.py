"""Settings of SpaHGC."""

from dataclasses import dataclass
from typing import Literal, Self

from histoquilt.models.expression._config import ExpressionConfig


@dataclass(frozen=True)
class SpaHGCConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.SpaHGC`; symbols are those of the paper.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    # inputs; neighbours reach the network along its edges, not as columns
    neighbours: bool = False
    n_inputs: int = 128  # principal components of the image features that the network sees; 0: the features themselves
    # graph
    use_references: bool = True  # False cuts all edges from references to targets: an ablation
    n_references: int = 7  # k: references of a spot, the most similar spots of other sections
    n_target_neighbours: int = 5  # nearest spots within 1.5 pitches
    n_reference_neighbours: int = 3  # among references, by image and expression
    # network
    n_hidden: int = 128
    n_layers: int = 2
    n_heads: int = 4
    input_dropout: float = 0.2
    attention_dropout: float = 0.1
    # contrast between complementary masks
    target_mask_rate: float = 0.1
    reference_mask_rate: float = 0.9
    momentum: float = 0.99  # of the encoder that follows
    regress_on: Literal["unmasked", "masked"] = "unmasked"  # which pass the expression is read from in training
    # loss: MSE + correlation_weight * (1 - PCC) + target_weight * L_target + reference_weight * L_reference
    correlation_weight: float = 0.5
    target_weight: float = 0.2
    reference_weight: float = 0.1
    weigh_spots: bool = True  # spots of few counts say less in the MSE
    # training
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    max_epochs: int = 24
    check_every: int = 6  # epochs between looks at the inner validation

    @classmethod
    def published(cls) -> Self:
        """Return the paper's settings, with the faults of the released code repaired (see the module's head)."""
        return cls(
            n_inputs=0,
            fields="one",
            own_moments=False,
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
        for name, least in whole.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
        if self.n_hidden % self.n_heads:
            raise ValueError(f"n_hidden is {self.n_hidden}, which {self.n_heads} heads cannot share.")
        for name in ("input_dropout", "attention_dropout", "target_mask_rate", "reference_mask_rate", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)!r}.")
        for name in ("correlation_weight", "target_weight", "reference_weight", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}.")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate!r}.")
        if self.regress_on not in ("unmasked", "masked"):
            raise ValueError(f"regress_on must be 'unmasked' or 'masked', got {self.regress_on!r}.")
