"""Settings of mclSTExp."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from histoquilt.models._ranges import Count, NotNegative, Positive, Rate, WholeNumber, at_least
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.retrieval._config import Weighting

Key = Literal["spot", "image", "both", "learned"]


@dataclass(frozen=True)
class MclSTExpConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.MclSTExp`; ``"validate"`` leaves a choice to inner validation.

    Raises
    ------
    ValueError
        A value is outside its range, or two do not go together.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.MclSTExpConfig.published("embedding").k
    (200,)
    """

    # "embedding" of a frozen encoder; "cnn" and "timm:NAME" are trained on pixels (use trainable())
    image_branch: str = "embedding"
    pretrained: bool = True  # timm only: start from published weights (downloaded)
    use_views: bool = True  # train on random views of each patch if obsm["<use_rep>_views"] exists
    own_moments: bool | Literal["auto"] = True
    n_latent: Annotated[int, at_least(2)] = 256  # width of the shared embedding
    n_blocks: WholeNumber = 2  # of the spot transformer; 0: no neighbours
    coordinates: bool = True  # add spot coordinates to the spot branch
    dropout_rate: Rate = 0.1  # of heads and transformer
    input_dropout: Rate = 0.3  # dropout rate of the image embedding in training
    colour_jitter: Rate = 0.2  # pixels only: range of random scaling of each channel, 1 - jitter to 1 + jitter
    similarity: Literal["cosine", "dot"] = "cosine"  # in the contrastive loss; retrieval uses cosine
    temperature: Positive = 0.2  # T of the contrastive loss
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-3
    batch_size: Annotated[int, at_least(2)] = 256  # spots per batch, among which each is matched with its image
    max_epochs: WholeNumber = 24
    check_every: WholeNumber = 4  # epochs between evaluations on held-out training sections; 0: at the end only
    weigh_by_depth: bool = True  # give spots with few counts less weight in loss and retrieval
    # what a query's image embedding is compared with: spot or image embeddings of references, or both, by the cosine;
    # "learned": image embeddings, in directions learned by a reduced-rank regression of expression
    key: Literal["spot", "image", "both", "learned", "validate"] = "validate"
    k: tuple[Count, ...] = (20, 50, 100, 200)  # numbers of references to try
    weighting: Literal["uniform", "inverse_square", "validate"] = "validate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if "validate" in (self.fields, self.neighbours):
            raise ValueError("mclSTExp takes inputs as they are: fields 'one' or 'several', neighbours true or false.")
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
            The paper trains DenseNet121, which needs timm and patches; ``"embedding"`` uses a frozen encoder instead.
        pretrained
            If true, start from published weights, as the paper does.
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
            ``"cnn"``, a small residual network, or ``"timm:NAME"``.
        max_epochs
            Largest number of epochs.
        pretrained
            If true, start from published weights (timm only).
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
        return ("both", "spot", "image", "learned") if self.key == "validate" else (self.key,)

    @property
    def weightings_to_try(self) -> tuple[Weighting, ...]:
        """Weights among which inner validation chooses."""
        return ("uniform", "inverse_square") if self.weighting == "validate" else (self.weighting,)
