"""Settings of mclSTExp."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from histoquilt.models._ranges import Count, NotNegative, Positive, Rate, WholeNumber, at_least
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.retrieval._bank import Weighting

Key = Literal["spot", "image", "both"]


@dataclass(frozen=True)
class MclSTExpConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.MclSTExp`; ``"validate"`` leaves a choice to inner validation.

    Raises
    ------
    ValueError
        A value is outside its range, or two do not go together.
    """

    # "embedding": of a frozen encoder; "cnn" and "timm:NAME" are trained on pixels (use trainable())
    image_branch: str = "embedding"
    pretrained: bool = True  # timm only: start from published weights, which are downloaded
    use_views: bool = True  # training draws one of a patch's views where obsm["<use_rep>_views"] holds them
    own_moments: bool = True  # standardise a section's embedding by its own moments; needs no label
    n_latent: Annotated[int, at_least(2)] = 256  # width of the space that images and spots share
    n_blocks: WholeNumber = 2  # of the spot transformer; 0: a spot is described by its own expression alone
    coordinates: bool = True  # the spot branch knows where in its section a spot lies
    dropout_rate: Rate = 0.1  # of heads and transformer
    input_dropout: Rate = 0.3  # of the embedding's components in training
    colour_jitter: Rate = 0.2  # pixels only: each channel is scaled by 1 - jitter to 1 + jitter in training
    similarity: Literal["cosine", "dot"] = "cosine"  # of the contrastive loss; retrieval is by cosine
    temperature: Positive = 0.2  # T
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-3
    batch_size: Annotated[int, at_least(2)] = 256  # spots among which each must find its own image
    max_epochs: WholeNumber = 24
    check_every: WholeNumber = 4  # epochs between evaluations on held-out training sections; 0: train to the end
    weigh_by_depth: bool = True  # spots of few counts weigh less, in the loss and among the retrieved
    key: Literal["spot", "image", "both", "validate"] = "validate"  # what of a reference a query is compared with
    k: tuple[Count, ...] = (20, 50, 100, 200)  # numbers of references to try
    weighting: Literal["uniform", "inverse_square", "validate"] = "validate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if "validate" in (self.fields, self.neighbours):
            raise ValueError("mclSTExp takes inputs as they are: fields 'one' or 'several', neighbours true or false.")
        self._check_branch()

    def _check_branch(self) -> None:
        branch = self.image_branch
        if branch not in ("embedding", "cnn") and not (branch.startswith("timm:") and len(branch) > len("timm:")):
            raise ValueError(f"image_branch must be 'embedding', 'cnn' or 'timm:NAME', got {branch!r}.")
        if branch != "embedding" and (self.fields != "one" or self.neighbours):
            raise ValueError(
                f"image_branch={branch!r} is trained on the pixels of one patch: it needs fields='one' and "
                "neighbours=False, which MclSTExpConfig.trainable() sets."
            )

    @classmethod
    def published(cls, image_branch: str = "timm:densenet121", *, pretrained: bool = True) -> Self:
        """Return the settings of the paper.

        Parameters
        ----------
        image_branch
            The paper trains DenseNet121, which needs timm and patches; with ``"embedding"`` a frozen one takes its
            place.
        pretrained
            Start from published weights, as the paper does.
        """
        return cls(
            image_branch=image_branch,
            pretrained=pretrained,
            fields="one",
            neighbours=False,
            own_moments=False,
            input_dropout=0.0,
            colour_jitter=0.5,
            similarity="dot",
            temperature=1.0,
            learning_rate=1e-4,
            batch_size=128,
            max_epochs=90,
            check_every=0,
            weigh_by_depth=False,
            key="spot",
            k=(200,),
            weighting="inverse_square",
        )

    @classmethod
    def trainable(cls, image_branch: str = "cnn", *, max_epochs: int = 24, pretrained: bool = True) -> Self:
        """Return settings for an image branch that learns from the pixels of one patch around each spot.

        Parameters
        ----------
        image_branch
            ``"cnn"``, a small residual network that needs no further package, or ``"timm:NAME"``.
        max_epochs
            Looks at held-out training sections are spread over them.
        pretrained
            timm only: start from published weights.
        """
        return cls(
            image_branch=image_branch,
            pretrained=pretrained,
            fields="one",
            neighbours=False,
            temperature=0.1,
            batch_size=64,
            max_epochs=max_epochs,
            check_every=max(1, max_epochs // 6),
        )

    @property
    def checks(self) -> tuple[int, ...]:
        """Numbers of epochs among which inner validation chooses."""
        if self.check_every == 0:
            return (self.max_epochs,)
        return (*range(self.check_every, self.max_epochs, self.check_every), self.max_epochs)

    @property
    def keys_to_try(self) -> tuple[Key, ...]:
        """Keys among which inner validation chooses."""
        return ("both", "spot", "image") if self.key == "validate" else (self.key,)

    @property
    def weightings_to_try(self) -> tuple[Weighting, ...]:
        """Weights among which inner validation chooses."""
        return ("uniform", "inverse_square") if self.weighting == "validate" else (self.weighting,)
