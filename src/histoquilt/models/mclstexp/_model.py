"""mclSTExp: expression of a spot from measured spots with an embedding similar to that of its H&E image.

Min, Shi, Zhang, Wan, Wang. Multimodal contrastive learning for spatial gene expression prediction using histology
images. Briefings in Bioinformatics 25(6), bbae551, 2024.

- Image branch: z_i = head(backbone(patch_i)).
- Spot branch: s_i = head(transformer(expression + position)_i), two pre-norm blocks over a set of spots.
- Projection head: h = W x; LayerNorm(h + dropout(V gelu(h))).
- Loss: symmetric cross-entropy of s z^T / T against the true pairing in a batch.
- Prediction: mean expression of the k references with s most cosine-similar to the query's z, weighted by
  1 / distance^2.

Where we differ from the published code, and why
-------------------------------------------------
- A spot attends to its neighbours in its section. In the released code the sequence is a random batch of mixed
  sections, so that a spot's embedding depends on its batch.
- Position is encoded by sines and cosines of microns from the middle of the section. The released lookup tables (65,536
  rows) stay random where training has no spots.
- Epochs, k, weights and key are chosen by leaving training sections or patients out. Keys: a query is compared with a
  reference's spot embedding (the paper), its image embedding, or both; or with its image embedding by the distance in
  the 8 leading directions of a reduced-rank regression of expression on image embeddings ("learned"). The paper sets k
  and distance for each data set.
- The section to predict is not seen in training, and there is no augmentation in prediction.
- By default the backbone is frozen, since a few hundred spots do not train it, and its embeddings of several fields and
  of neighbours enter as principal components, standardised within each section.
- By default the loss uses cosines at a lower temperature: dot products of LayerNorm outputs (length 16) saturate the
  softmax. Spots with few counts weigh less in loss and retrieval.
- Targets are normalised spot by spot; the released gene-by-gene normalisation lets sequencing depth leak in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from histoquilt.models._image_components import Basis
from histoquilt.models._ridge_path import RidgePath, spot_weights
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, InnerFold, criterion
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
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
from histoquilt.models.retrieval._bank import Bank
from histoquilt.models.retrieval._config import Weighting
from histoquilt.runtime import Advance
from histoquilt.train import strip_prefix

_ALPHA, _N_DIRECTIONS = 0.001, 8  # penalty and width of the learned space of image embeddings


class _Setting(NamedTuple):
    n_epochs: int
    key: Key
    k: int
    weighting: Weighting


@dataclass(frozen=True)
class _Learnt:
    """Fitted state."""

    setting: _Setting  # chosen by inner validation
    inputs: ImageInputs
    network: MclSTExpNetwork
    bank: Bank  # training spots with what a query is compared with
    directions: Tensor | None  # in which image embeddings are compared, (n_latent, n_directions); key "learned" only
    score: float  # mean correlation of the setting on inner validation
    history: tuple[float, ...]  # mean loss of every epoch of the final training


class MclSTExp(ExpressionModel):
    """Predicts expression by retrieval in an embedding shared by images and measured spots.

    An image and a spot branch are trained so that the two embeddings of a spot agree. Predictions are averages of the
    measured expression of the training spots nearest to a query's image embedding. Number of epochs, number of spots
    and their weights are chosen by leaving training sections (or patients) out.

    The model contains the measured expression of its training sections.

    Parameters
    ----------
    config
        Settings. ``MclSTExpConfig.published()`` are the paper's. ``MclSTExpConfig.trainable()`` trains the image branch
        on pixels; ``use_rep`` is then a key in ``obsm`` with patches of :func:`histoquilt.im.cut_patches`. Otherwise
        training uses rotated and mirrored views of each patch if all sections have them in ``obsm``:
        ``adata.obsm["X_he_texture_views"] = histoquilt.im.embed_views(...)``.

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
        """Whether training uses ``obsm["<use_rep>_views"]``."""
        return self.config.use_views and self.config.image_branch == "embedding"

    @property
    def history(self) -> list[float]:
        """Mean loss of every epoch of the final training."""
        return list(self.learnt.history)

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        config = self.config
        inputs = ImageInputs.fit(train, config)
        images = [inputs.of(section) for section in train]
        views = [inputs.views_of(section) for section in train]
        weights = [spot_weights(section) if config.weigh_by_depth else np.ones(len(section.x)) for section in train]
        of_folds = [Pairs.of(train, images, weights, fold.train, config.n_blocks, views, self.device) for fold in folds]
        choices, snapshots = Choices(), {}
        for number, (fold, pairs) in enumerate(zip(folds, of_folds, strict=True)):
            network = start_network(pairs, config, seed)
            file = self._checkpoint(f"fold-{number}")
            for epoch, _ in train_network(
                network, pairs, config, config.max_epochs, seed, advance, looks=config.checks, checkpoint=file
            ):
                if epoch not in config.checks:
                    continue
                # weights are kept, not embeddings, whose size grows with the number of spots
                snapshots[number, epoch] = {name: value.clone() for name, value in network.state_dict().items()}
                banks = _banks(network, pairs, config.keys_to_try)
                for i in fold.held_out:
                    query = embed_images(network, torch.from_numpy(images[i]))
                    for key, (bank, directions) in banks.items():
                        averages = _averages(bank, query, directions, config.k, config.weightings_to_try)
                        for k, weighting, values in averages:
                            choices.add(_Setting(epoch, key, k, weighting), criterion(train[i].measured, values))
        chosen: _Setting = choices.best

        held_out: dict[int, np.ndarray] = {}
        for number, (fold, pairs) in enumerate(zip(folds, of_folds, strict=True)):
            network.load_state_dict(snapshots[number, chosen.n_epochs])
            found = _banks(network, pairs, (chosen.key,))[chosen.key]
            held_out |= {i: _predict(network, *found, chosen, images[i]) for i in fold.held_out}

        pairs = Pairs.of(train, images, weights, range(len(train)), config.n_blocks, views, self.device)
        network = start_network(pairs, config, seed)
        file = self._checkpoint("all", n_epochs=chosen.n_epochs)
        epochs = train_network(network, pairs, config, chosen.n_epochs, seed, advance, checkpoint=file)
        history = tuple(loss for epoch, loss in epochs if epoch > 0)
        found = _banks(network, pairs, (chosen.key,))[chosen.key]
        learnt = _Learnt(chosen, inputs, network, *found, choices.best_score, history)
        return learnt, [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        learnt = self.learnt
        return _predict(learnt.network, learnt.bank, learnt.directions, learnt.setting, learnt.inputs.of(section))

    def state(self) -> MethodState:
        learnt = self.learnt
        basis = {} if learnt.inputs.basis is None else learnt.inputs.basis.arrays()
        return MethodState(
            weights=learnt.network.state_dict(),
            arrays={
                **{f"bank.{name}": value for name, value in learnt.bank.arrays().items()},
                **{f"basis.{name}": value for name, value in basis.items()},
                **({} if learnt.directions is None else {"directions": learnt.directions.cpu().numpy()}),
            },
            settings={**learnt.setting._asdict(), "inner_pcc": learnt.score, "loss": list(learnt.history)},
        )

    def restore(self, state: MethodState) -> _Learnt:
        settings = state.settings
        setting = _Setting(settings["n_epochs"], settings["key"], settings["k"], settings["weighting"])
        frozen = self.config.image_branch == "embedding"
        basis = Basis.restore(False, strip_prefix(state.arrays, "basis")) if frozen else None
        bank = Bank.restore(strip_prefix(state.arrays, "bank"), self.device)
        n_image = 0 if basis is None else basis.components.shape[1]
        config = replace(self.config, pretrained=False)  # trained weights are loaded below
        network = build_network(config, n_image, bank.expression.shape[1], seed=0)
        network.load_state_dict(state.weights)
        network.to(self.device)
        stored, width = state.arrays.get("directions"), self.config.n_latent
        directions = None if stored is None else torch.from_numpy(stored).to(self.device)
        if bank.points.shape[1] != (width if directions is None else directions.shape[1]):
            raise ValueError("the reference bank does not fit the network")
        return _Learnt(
            setting, ImageInputs(basis), network, bank, directions, settings["inner_pcc"], tuple(settings["loss"])
        )


def _banks(network: MclSTExpNetwork, pairs: Pairs, keys: Sequence[Key]) -> dict[Key, tuple[Bank, Tensor | None]]:
    """Return the references by key, and the directions in which a query is compared with them."""
    points: dict[str, Tensor] = embed_references(network, pairs)
    expression, weights = pairs.spots.y.cpu().numpy(), pairs.weights.cpu().numpy()
    directions = None
    if "learned" in keys:
        path = RidgePath.fit(points["image"].cpu().numpy(), expression, weights)
        directions = torch.from_numpy(path.leading_directions(_ALPHA, _N_DIRECTIONS)).to(points["image"].device)
        points["learned"] = points["image"].double() @ directions
    return {key: (Bank(points[key], expression, weights), directions if key == "learned" else None) for key in keys}


def _averages(
    bank: Bank, query: Tensor, directions: Tensor | None, ks: Sequence[int], weightings: Sequence[Weighting]
) -> Iterator[tuple[int, Weighting, np.ndarray]]:
    if directions is None:
        return bank.averages(query, ks, weightings)
    return bank.averages(query.double() @ directions, ks, weightings, "euclidean")


def _predict(
    network: MclSTExpNetwork, bank: Bank, directions: Tensor | None, setting: _Setting, images: np.ndarray
) -> np.ndarray:
    query = embed_images(network, torch.from_numpy(images))
    ((_, _, values),) = _averages(bank, query, directions, (setting.k,), (setting.weighting,))
    return values
