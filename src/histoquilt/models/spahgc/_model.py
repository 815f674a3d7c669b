"""SpaHGC: gene expression from H&E by transfer from other sections on a heterogeneous graph.

arXiv 2603.22821 (2026).

Spots of a section (targets) and the most similar spots of other sections (references) are the nodes of a graph.
Messages pass among targets (GraphSAGE over spatial neighbours), among references (GraphSAGE over similar ones) and
between them (CNDA, attention in both directions); at the end every target attends to its references (CNAP).
``L = MSE + 0.5 (1 - PCC) + 0.2 L_target + 0.1 L_reference``: the last two compare an encoder of randomly masked
features with a momentum encoder of the complementary features.

Where we differ from the published code, and why
------------------------------------------------
- References come from other sections (other patients, if there are several), in training and prediction; the released
  bank contains sections of the test patient.
- The number of epochs is chosen on left-out training sections; the released code chooses it on the test section. Genes
  and scaling come from training sections, and expression is normalised for depth.
- Prediction is deterministic and unmasked; the released code evaluates its random masked branch.
- The momentum encoder is updated after every step; the released one keeps its initial weights.
- All three kinds of edges are required arguments of one graph class; in the released code a wrong name skips one.
- Expression is regressed on an unmasked pass; the released code trains on 10 % of the reference features and predicts
  with all. With ``regress_on="masked"`` the remaining features are scaled up.
- References are found by the spot's own image features, standardised within its section, without neighbours; by
  default by their distance in the 8 leading directions of a reduced-rank regression of expression on these features,
  fitted without the section that searches (``retrieval="learned"``), in the paper by the cosine of all features.
- By default the inputs are 128 principal components, and the network is smaller and trained faster than the paper's
  (``SpaHGCConfig.published()``); its output starts at the mean expression of training.
"""

from dataclasses import dataclass

import numpy as np

from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import InnerFold
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._fit import TrainedNetwork, fit_network
from histoquilt.models.spahgc._graph import ReferenceBank
from histoquilt.runtime import Advance


@dataclass(frozen=True)
class _Learnt:
    """Fitted state."""

    trained: TrainedNetwork
    score: float | None  # mean correlation on inner validation; None with too few sections

    @property
    def bank(self) -> ReferenceBank:
        """Training spots from which references are taken."""
        return self.trained.bank


class SpaHGC(ExpressionModel):
    """Predicts gene expression from H&E by a graph network that attends to similar spots of the training sections.

    The number of epochs is chosen by leaving training sections (or patients) out. The model contains image features and
    measured expression of its training sections. ``SpaHGCConfig.published()`` are the paper's settings.

    References
    ----------
    SpaHGC. arXiv 2603.22821, 2026.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop(list(study)[-1])
    >>> config = hq.models.SpaHGCConfig(max_epochs=5, n_hidden=16)
    >>> predicted = hq.models.SpaHGC(config).fit(study, use_rep="X_image").predict(held_out)
    >>> predicted.layers["predicted_spahgc"].shape
    (60, 20)
    """

    method = "spahgc"
    config_class = SpaHGCConfig
    has_network = True
    config: SpaHGCConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray] | None]:
        fit = fit_network(
            train, folds, self.config, seed=seed, device=self.device, checkpoint=self._checkpoint, advance=advance
        )
        complete = len(fit.held_out) == len(train)
        return _Learnt(fit.trained, fit.score), [fit.held_out[i] for i in range(len(train))] if complete else None

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return self.learnt.trained.predict(section, self.config, self.device)

    def state(self) -> MethodState:
        state = self.learnt.trained.state()
        return MethodState(state.weights, state.arrays, {**state.settings, "inner_pcc": self.learnt.score})

    def restore(self, state: MethodState) -> _Learnt:
        return _Learnt(TrainedNetwork.restore(state, self.config, self.device), state.settings["inner_pcc"])
