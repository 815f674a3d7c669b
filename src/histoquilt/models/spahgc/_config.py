"""Settings of SpaHGC."""

from dataclasses import dataclass
from typing import Literal, Self

from histoquilt.models._ranges import Count, NotNegative, Positive, Rate, WholeNumber
from histoquilt.models.expression._config import ExpressionConfig


@dataclass(frozen=True)
class SpaHGCConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.SpaHGC`, with the paper's symbols.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.SpaHGCConfig.published().max_epochs
    200
    """

    # inputs; neighbours are seen through edges, not as columns
    neighbours: bool = False
    n_inputs: WholeNumber = 128  # principal components of the image features; 0: the features themselves
    # graph
    # how references are searched: in directions learned by a reduced-rank regression, or by the inputs themselves
    retrieval: Literal["learned", "cosine"] = "learned"
    use_references: bool = True  # ablation: False removes all edges from references to targets
    n_references: Count = 7  # k, most similar spots of other sections
    n_target_neighbours: WholeNumber = 5  # nearest spots, within 1.5 pitches
    n_reference_neighbours: WholeNumber = 3  # most similar references, by image and expression
    # network
    n_hidden: Count = 128
    n_layers: Count = 2
    n_heads: Count = 4
    input_dropout: Rate = 0.2
    attention_dropout: Rate = 0.1
    # contrast between complementary masks
    target_mask_rate: Rate = 0.1
    reference_mask_rate: Rate = 0.9
    momentum: Rate = 0.99  # of the momentum encoder
    regress_on: Literal["unmasked", "masked"] = "unmasked"  # pass that predicts expression in training
    # loss: MSE + correlation_weight * (1 - PCC) + target_weight * L_target + reference_weight * L_reference
    correlation_weight: NotNegative = 0.5
    target_weight: NotNegative = 0.2
    reference_weight: NotNegative = 0.1
    weigh_spots: bool = True  # give spots with few counts less weight in the MSE
    # training
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    max_epochs: Count = 24
    check_every: Count = 6  # epochs between evaluations on held-out training sections

    @classmethod
    def published(cls) -> Self:
        """Return the paper's settings, with the faults of the released code repaired (see the module's head)."""
        return cls(
            n_inputs=0,
            fields="one",
            own_moments=False,
            retrieval="cosine",
            n_hidden=256,
            n_layers=4,
            weigh_spots=False,
            learning_rate=1e-4,
            max_epochs=200,
            check_every=10,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_inputs_are_given()
        if self.n_hidden % self.n_heads:
            raise ValueError(f"n_hidden is {self.n_hidden}, which {self.n_heads} heads cannot share.")
