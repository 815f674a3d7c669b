"""mclSTExp: expression of a spot from measured spots whose embedding matches that of its H&E image.

Min, Shi, Zhang, Wan, Wang. Multimodal contrastive learning for spatial gene expression prediction using histology
images. Briefings in Bioinformatics 25(6), bbae551, 2024.

- Image branch: z_i = head(backbone(patch_i)).
- Spot branch: s_i = head(transformer(expression + position)_i), two pre-norm blocks over a set of spots.
- Projection head: h = W x; LayerNorm(h + dropout(V gelu(h))).
- Loss: symmetric cross-entropy of s z^T / T against the true pairing in a batch.
- Prediction: mean measured expression of the k references whose s is most cosine-similar to the query's z, weighted
  by 1 / distance^2.

Where we differ from the published code, and why
-------------------------------------------------
- A spot attends to its own neighbourhood in its section, in training and in prediction alike. There the sequence is
  a random batch over mixed sections, so that a spot's embedding depends on its batch mates and on the batch size.
- Position is encoded by sines and cosines of microns from the section's middle, defined everywhere, in place of two
  tables of 65,536 rows whose entries stay random wherever training saw no spot.
- Epochs, k, weights and what a query is compared with (a reference's spot embedding, its image embedding, or both)
  are chosen by leaving training sections or patients out. There k and distance were set for each data set.
- Nothing of the section to predict is seen in training, and no augmentation is applied in prediction.
- By default the backbone is frozen, and its embeddings of several fields and of the neighbours enter as principal
  components, standardised section by section: a few hundred spots do not train a backbone.
- The loss is of cosines at a lower temperature by default; the dot products of vectors of length 16 that LayerNorm
  returns saturate the softmax. Spots of few counts weigh less, in the loss and among the retrieved.
- Targets are normalised spot by spot. There the truth is normalised gene by gene, which lets depth leak in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from histoquilt.models._image_components import Basis
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.linear._ridge_path import spot_weights
from histoquilt.models.mclstexp._config import Key, MclSTExpConfig
from histoquilt.models.mclstexp._images import ImageInputs
from histoquilt.models.mclstexp._network import MclSTExpNetwork
from histoquilt.models.mclstexp._training import (
    Pairs,
    build_network,
    embed_images,
    embed_references,
    start_network,
    train_network,
)
from histoquilt.models.retrieval._bank import Bank, Weighting
from histoquilt.runtime import Advance
from histoquilt.train import strip_prefix


class _Setting(NamedTuple):
    n_epochs: int
    key: Key
    k: int
    weighting: Weighting


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves.

    Attributes
    ----------
    setting
        Setting chosen on inner validation.
    inputs, network, bank
        Conversion of a section to what the image branch takes, the network, and the training spots in its space.
    score
        Mean correlation of the setting on inner validation.
    history
        Mean loss of every epoch of the final training.
    """

    setting: _Setting
    inputs: ImageInputs
    network: MclSTExpNetwork
    bank: Bank
    score: float
    history: tuple[float, ...]


class MclSTExp(ExpressionModel):
    """Predicts expression by retrieval in a space that images and measured spots share.

    An image and a spot branch are trained so that the two descriptions of one spot meet. A query's image embedding is
    then compared with the training spots, whose measured expression is averaged. How long to train, how many spots to
    average and how to weigh them is chosen by leaving training sections (or patients) out.

    The model contains the measured expression of its training sections.

    Parameters
    ----------
    config
        Settings. ``MclSTExpConfig.published()`` are the paper's; ``MclSTExpConfig.trainable()`` trains the image
        branch on pixels: then ``use_rep`` names a key in ``obsm`` with patches of :func:`histoquilt.im.cut_patches`.
        Otherwise training draws from the turned and mirrored views of each patch where all sections have them, beside
        the embedding that they are views of: ``adata.obsm["X_he_texture_views"] = histoquilt.im.embed_views(...)``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, kind="pairing")
    >>> held_out = study.pop("s3")
    >>> model = hq.models.MclSTExp().fit(study, use_rep="X_image", seed=0)
    >>> model.predict(held_out).layers["predicted_mclstexp"].shape
    (60, 20)
    """

    method = "mclstexp"
    config_class = MclSTExpConfig
    has_network = True
    config: MclSTExpConfig
    learnt: _Learnt

    @property
    def uses_views(self) -> bool:
        """Where the image branch is frozen and the settings have it; pixels are turned as they are drawn."""
        return self.config.use_views and self.config.image_branch == "embedding"

    @property
    def history(self) -> list[float]:
        """Mean loss of every epoch of the final training."""
        return list(self.learnt.history)

    def fit_arrays(
        self, train: list[ImageSection], folds: list[Fold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        config = self.config
        inputs = ImageInputs.fit(train, config)
        images = [inputs.of(one) for one in train]
        views = [inputs.views_of(one) for one in train]
        weights = [spot_weights(one) if config.weigh_by_depth else np.ones(len(one.x)) for one in train]
        of_folds = [Pairs.of(train, images, weights, fold.train, config.n_blocks, views, self.device) for fold in folds]
        choices, snapshots = Choices(), {}
        for number, (fold, pairs) in enumerate(zip(folds, of_folds, strict=True)):
            network = start_network(pairs, config, seed)
            kept = self._checkpoint(f"fold-{number}")
            for epoch, _ in train_network(
                network, pairs, config, config.max_epochs, seed, advance, looks=config.checks, checkpoint=kept
            ):
                if epoch not in config.checks:
                    continue
                # weights and not embeddings are kept: their size does not grow with the number of spots
                snapshots[number, epoch] = {name: value.clone() for name, value in network.state_dict().items()}
                banks = _banks(network, pairs, config.keys_to_try)
                for i in fold.held_out:
                    query = embed_images(network, torch.from_numpy(images[i]))
                    for key, bank in banks.items():
                        for k, weighting, values in bank.averages(query, config.k, config.weightings_to_try):
                            setting = _Setting(epoch, key, k, weighting)
                            choices.add(setting, criterion(train[i].measured, values))
        chosen: _Setting = choices.best

        held_out: dict[int, np.ndarray] = {}
        for number, (fold, pairs) in enumerate(zip(folds, of_folds, strict=True)):
            network.load_state_dict(snapshots[number, chosen.n_epochs])
            bank = _banks(network, pairs, (chosen.key,))[chosen.key]
            held_out |= {i: _predict(network, bank, chosen, images[i]) for i in fold.held_out}

        pairs = Pairs.of(train, images, weights, range(len(train)), config.n_blocks, views, self.device)
        network = start_network(pairs, config, seed)
        last = self._checkpoint("all", n_epochs=chosen.n_epochs)
        epochs = train_network(network, pairs, config, chosen.n_epochs, seed, advance, checkpoint=last)
        history = tuple(loss for epoch, loss in epochs if epoch > 0)
        bank = _banks(network, pairs, (chosen.key,))[chosen.key]
        learnt = _Learnt(chosen, inputs, network, bank, choices.best_score, history)
        return learnt, [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        learnt = self.learnt
        return _predict(learnt.network, learnt.bank, learnt.setting, learnt.inputs.of(section))

    def state(self) -> MethodState:
        learnt = self.learnt
        basis = {} if learnt.inputs.basis is None else learnt.inputs.basis.arrays()
        return MethodState(
            weights=learnt.network.state_dict(),
            arrays={
                **{f"bank.{name}": value for name, value in learnt.bank.arrays().items()},
                **{f"basis.{name}": value for name, value in basis.items()},
            },
            settings={**learnt.setting._asdict(), "inner_pcc": learnt.score, "loss": list(learnt.history)},
        )

    def restore(self, state: MethodState) -> _Learnt:
        kept = state.settings
        setting = _Setting(kept["n_epochs"], kept["key"], kept["k"], kept["weighting"])
        frozen = self.config.image_branch == "embedding"
        basis = Basis.restore(False, strip_prefix(state.arrays, "basis")) if frozen else None
        bank = Bank.restore(strip_prefix(state.arrays, "bank"), self.device)
        n_image = 0 if basis is None else basis.components.shape[1]
        # published weights of a backbone need not be fetched again: the trained ones follow
        config = replace(self.config, pretrained=False)
        network = build_network(config, n_image, bank.expression.shape[1], seed=0)
        network.load_state_dict(state.weights)
        network.to(self.device)
        if bank.points.shape[1] != self.config.n_latent:
            raise ValueError("the reference bank does not fit the network")
        return _Learnt(setting, ImageInputs(basis), network, bank, kept["inner_pcc"], tuple(kept["loss"]))


def _banks(network: MclSTExpNetwork, pairs: Pairs, keys: Sequence[Key]) -> dict[Key, Bank]:
    points = embed_references(network, pairs)
    expression, weights = pairs.spots.y.cpu().numpy(), pairs.weights.cpu().numpy()
    return {key: Bank(points[key], expression, weights) for key in keys}


def _predict(network: MclSTExpNetwork, bank: Bank, setting: _Setting, images: np.ndarray) -> np.ndarray:
    query = embed_images(network, torch.from_numpy(images))
    ((_, _, values),) = bank.averages(query, (setting.k,), (setting.weighting,))
    return values
