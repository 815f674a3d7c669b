"""Base class of the models that predict gene expression from H&E images: a method is its hooks on arrays.

A subclass names its ``method`` and ``config_class`` and writes four hooks: :meth:`ExpressionModel.fit_arrays`,
``predict_arrays``, ``state`` and ``restore``; one that predicts log rates overrides ``relative_arrays``, too. Checks,
gene panel, normalisation, inner folds, depth head, reliability, distance to the training tissue, slides, checkpoint and
provenance are here, and alike for all of them. What a fit leaves is one frozen object, :attr:`ExpressionModel.fitted`;
what the method itself learnt is its part ``learnt``.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys, SlideImage
from histoquilt.models._checkpoint import Checkpoint, digest_of_arrays, write_checkpoint
from histoquilt.models.expression._checkpoint import FittedExpression, MethodState
from histoquilt.models.expression._config import ExpressionConfig, moments_to_use, moments_used
from histoquilt.models.expression._depth_head import DepthHead, fit_depth_head
from histoquilt.models.expression._encoder import Encoders
from histoquilt.models.expression._expected_log1p import relative_rates
from histoquilt.models.expression._inner_validation import InnerFold, inner_folds, reliability
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._prediction import (
    Predicted,
    as_image_section,
    embed_slide,
    section_to_predict,
    write_prediction,
)
from histoquilt.models.expression._prediction_memory import check_memory_to_predict
from histoquilt.models.expression._training_data import TrainingData, read_training_data
from histoquilt.models.expression._training_memory import TrainingSize, check_memory_to_train
from histoquilt.models.expression.unlike._embedding import TrainingDistribution
from histoquilt.models.expression.unlike._transfer import TransferMeasure
from histoquilt.runtime import Advance, logger, progress_bar, resolve_device
from histoquilt.study import Section, Sections, Slots
from histoquilt.train import TrainingCheckpoint, strip_prefix, training_folder

if TYPE_CHECKING:
    import torch


class ExpressionModel(ABC):
    """Base class of the models that predict expression from image embeddings.

    Attributes
    ----------
    config
        Settings.
    training_facts
        Seed, device, sections with their digests, encoders, seconds, and what the method chose.
    device
        Device of the method's network.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> class Median(hq.models.ExpressionModel):
    ...     method = "median"
    ...     def fit_arrays(self, train, folds, seed, advance):
    ...         return np.median(np.concatenate([section.measured for section in train]), axis=0), None
    ...     def predict_arrays(self, section):
    ...         return np.tile(self.learnt, (len(section.x), 1))
    ...     def state(self):
    ...         return hq.models.MethodState(arrays={"median": self.learnt})
    ...     def restore(self, state):
    ...         return state.arrays["median"]
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop("s3")
    >>> Median().fit(study, use_rep="X_image").predict(held_out).layers["predicted_median"].shape
    (60, 20)
    """

    method: ClassVar[str]
    has_network: ClassVar[bool] = False  # computes on a device, sparse products among it; others compute on the CPU
    draws: ClassVar[bool] = True  # depends on the seed; False: an evaluation trains it once for all seeds
    config_class: ClassVar[type[ExpressionConfig]] = ExpressionConfig

    def __init__(self, config: ExpressionConfig | None = None) -> None:
        self.config = config or self.config_class()
        if not isinstance(self.config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, got a {type(self.config).__name__}."
            )
        self.training_facts: dict[str, Any] = {}
        self.device = resolve_device("cpu")
        self._fitted: FittedExpression | None = None
        self._kept_in: tuple[Path, dict[str, Any]] | None = None  # where training is kept, and what it depends on

    # hooks of a method

    @abstractmethod
    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[Any, list[np.ndarray] | None]:
        """Learn from training sections, each with ``y``.

        Every choice is made on ``folds``. :meth:`ImageSection.columns` gives the columns of ``x`` by field. Everything
        random is drawn from ``seed``. Networks compute on ``self.device``.

        Returns
        -------
        learnt
            Fitted state, best a frozen dataclass; the other hooks read it as :attr:`learnt`.
        held_out
            Prediction of every training section, ``(n_spots, n_genes)`` each, by the model that was fitted on the other
            side of its fold, which gives the reliability of each gene; ``None`` if the method has none.
        """

    @abstractmethod
    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        """Return log1p of counts per 10,000, ``(n_spots, n_genes)`` float32, of a section without ``y``."""

    def relative_arrays(self, section: ImageSection, values: np.ndarray) -> np.ndarray:
        """Return the log rate of every gene relative to its section, ``(n_spots, n_genes)`` float32, mean 0 over spots.

        By default, what ``values``, the prediction, imply at the predicted depth; called only if training knew depths.
        """
        assert section.log_counts is not None, "called only if training knew depths"
        return relative_rates(values, section.log_counts)

    @abstractmethod
    def state(self) -> MethodState:
        """Return :attr:`learnt` as weights, arrays and settings, for the checkpoint."""

    @abstractmethod
    def restore(self, state: MethodState) -> Any:
        """Return what was learnt from what :meth:`state` returned; networks belong on ``self.device``."""

    # what a user calls

    def fit(
        self,
        sections: Sections,
        *,
        use_rep: str | Sequence[str] | None = None,
        patient_key: str | None = None,
        section_key: str = Keys.SECTION,
        spatial_key: str = Keys.SPATIAL,
        genes: Sequence[str] | None = None,
        n_genes: int | None = None,
        layer: str | None = None,
        seed: int = 0,
        device: "str | torch.device" = "auto",
        progress: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        check_memory: bool = True,
    ) -> Self:
        """Learn from sections that have both an image embedding and measured expression; they are not changed.

        Expression is normalised to log1p of counts per 10,000 over all genes of each section before any is left out;
        a matrix declared ``log1p_cp10k`` is used as it is. Everything that is chosen (genes, scaling, settings) is
        chosen on these sections.

        Parameters
        ----------
        sections
            At least two sections: a dict from name to AnnData, a list, one AnnData with ``obs[section_key]``, or the
            path of a ``samples.csv`` (:meth:`histoquilt.study.Study.of`). If genes differ between sections prefer a
            dict: one AnnData has only the shared ones, and counts per 10,000 are computed over these.
        use_rep
            Key or keys in ``obsm`` with embeddings, one per patch size. By default those that
            :func:`histoquilt.im.embed_patches` wrote into all sections.
        patient_key
            Column of ``obs``, one value per section. If training has several patients, sections of one stay on one side
            of every inner split. By default ``"patient"`` if all sections have it.
        section_key, spatial_key
            Column of ``obs`` with section names, and key in ``obsm`` of the spot centres.
        genes
            Genes of the panel. By default those of highest mean and of highest variance, among the genes that all
            sections share.
        n_genes
            Number of genes of each kind, overriding ``config.n_genes``.
        layer
            Layer with the expression; by default ``layers["counts"]``, else ``X``.
        seed
            Random seed.
        device
            Device on which a network is trained; ``"auto"`` uses a GPU if available. On the CPU the same seed gives the
            same result; on a GPU results agree up to rounding.
        progress
            If true, show a progress bar on stderr.
        checkpoint
            Folder for training checkpoints, created if absent and written about every 15 seconds. The same call after
            an interruption resumes from there and gives the same result, bit for bit on the CPU. Checkpoints of a call
            with other data, settings, seed, number of threads or version are replaced. The folder is never deleted;
            methods without a network write nothing.
        check_memory
            If true, raise before training if it needs more memory than is available.

        Returns
        -------
        The model itself, trained.

        Raises
        ------
        KeyError
            An embedding, a layer or a column is missing.
        ValueError
            There is only one section; embeddings differ in width or encoder; expression is neither counts nor declared;
            sections share no gene, or lack a requested gene; the device does not exist; or there is less memory than
            training will take.
        NotADirectoryError
            ``checkpoint`` is a file.
        """
        folder = None if checkpoint is None else training_folder(checkpoint)
        started = time.perf_counter()
        found_device = resolve_device(device, sparse=self.has_network)
        self.device = found_device if self.has_network else resolve_device("cpu")
        study = read_training_data(
            sections, Slots(spatial_key, section_key, layer), use_rep=use_rep, fields=self.config.fields,
            patient_key=patient_key, genes=genes, n_genes=self.config.n_genes if n_genes is None else n_genes,
            with_views=self.uses_views, check_size=self.check_memory if check_memory else None,
        )  # fmt: skip
        moments = moments_to_use(self.config, study.n_individuals)
        inputs, train = study.standardised(neighbours=self.config.neighbours is not False, own=moments["own"])
        folds = inner_folds(study.groups)
        depth_head, train = _with_log_counts(train, folds)
        distribution = TrainingDistribution.fit([np.hstack(reps) for reps in study.embeddings], study.groups, seed=seed)
        self._fitted = None
        self._kept_in = None if folder is None else (folder, self._job(study, seed))
        with progress_bar(type(self).__name__, None, enabled=progress) as advance:
            learnt, held_out = self.fit_arrays(train, folds, seed, advance)
        self._fitted = FittedExpression(
            genes=study.genes,
            symbols=study.symbols,
            inputs=inputs,
            distribution=distribution,
            stain=study.stain,
            depth_head=depth_head,
            transfer=TransferMeasure.fit(lambda i: inputs.own_standardised(train[i]), study.groups),
            reliability=reliability(study.y, held_out, folds, study.depth),
            pitch_um=study.pitch_um,
            spatial_key=study.slots.spatial_key,
            section_key=study.slots.section_key,
            layer=study.slots.layer,
            learnt=learnt,
        )
        self.training_facts = self._facts(study, seed, time.perf_counter() - started)
        own = moments_used(self.training_facts["chosen"], moments["own"])
        self.training_facts["moments"] = {**moments, "own": own}
        logger.info(
            "Trained %s on %d genes of %d sections in %.1f s.", self.method, len(study.genes), len(train),
            self.training_facts["wall_s"],
        )  # fmt: skip
        return self

    def predict(
        self,
        section: AnnData | Section | SlideImage | np.ndarray | str | PathLike[str],
        *,
        mpp: float | None = None,
        pitch_um: float | None = None,
        encoder: Encoders = None,
        progress: bool = False,
        check_memory: bool = True,
    ) -> AnnData:
        """Predict the expression of a section with spots, or of a bare slide.

        Measured expression of the section is never used; if present, it is returned next to the prediction.

        Parameters
        ----------
        section
            Section with spot centres and the embeddings that the model was trained on; or a slide: a path, an opened
            slide, or RGB uint8 ``(height, width, 3)``, on which spots are placed over the tissue and embedded.
        mpp
            Slide only: microns per pixel, if its file does not state it.
        pitch_um
            Slide only: distance of the spots; by default that of the training sections.
        encoder
            Slide only: the encoder or encoders of training that cannot be found by their names. They must have the
            same digests.
        progress
            If true, show a progress bar on stderr.
        check_memory
            If true, estimate the required memory once the spots are known, and raise if less is available (Linux only;
            other systems do not report it).

        Returns
        -------
        A new AnnData with the panel in ``var``:

        ``layers["predicted_<method>"]`` : float32, log1p of counts per 10,000, declared; for a slide ``X`` too
        ``layers["relative_<method>"]`` : float32, natural log of the rate of a gene relative to its section, mean 0
        over its spots, declared ``log_relative``; if training knew depths
        ``layers["measured_log1p_cp10k"]`` : if the section measured the whole panel
        ``obs["measured_counts"]`` : total counts of the spot over all genes measured; likewise, of raw counts
        ``obs["predicted_log_counts"]`` : natural log of the predicted counts of the spot; if training knew depths
        ``var["reliability"]`` : mean correlation over held-out training sections
        ``var["reliability_adjusted"]`` : the same at equal depth (NaN if training had no raw counts); where its median
        is below 0.05, ``uns["histoquilt"]["prediction"]["caution"]`` and the log say so in words
        ``var["reliability_transfers"]`` : bool, the same for all genes: whether the section's image features vary as in
        left-out training sections; if not, ``reliability_adjusted`` is 0: training says nothing about this section.
        Absent if that was not judged: the section has fewer than 20 spots
        ``var["beats_mean"]`` : whether its squared error there was below that of the training mean
        ``obs["out_of_distribution"]`` : bool, the spot's image, or the section's as a whole, is unlike training tissue,
        by its embedding or, where training and this section have it (``obsm["X_stain"]``), by its stain
        ``obs["out_of_distribution_score"]`` : the spot's distance to the training tissue, the larger of the two; above
        1 is outside
        ``obsm["spatial_px"]``, ``obsm["spatial_um"]`` : spot centres in pixels (where known) and microns
        ``uns["histoquilt"]["prediction"]`` : method, ``members`` of a stack with their weights, training sections,
        share of spots outside (in all, ``..._by_embedding`` and ``..._by_stain``), score of the section;
        ``transfer_share``, the share of the variance of its image features, standardised by its own moments, in the
        leading 64 training components, ``transfer_left_out``, smallest and largest of left-out training sections,
        ``transfer_limit`` and ``transfers``, all absent if not judged

        ``obs`` and ``obsm`` of the section are kept.

        Raises
        ------
        RuntimeError
            The model is not trained.
        KeyError
            Embeddings or coordinates are missing.
        ValueError
            Embeddings have another width, another encoder or another field than in training; several sections are in
            one AnnData; a slide has no mpp or no tissue; there is less memory than this will take.

        Warns
        -----
        UserWarning
            More than 10 % of the spots are unlike the training tissue; the image features do not transfer to the
            section; the model was trained on this section (``seen_in_training`` in
            ``uns["histoquilt"]["prediction"]`` names it); measured expression could not be added.
        """
        fitted = self.fitted
        bare = not isinstance(section, AnnData | Section)
        if not isinstance(section, AnnData | Section):
            section = embed_slide(
                section, fitted, mpp, pitch_um, encoder, progress=progress, check_memory=check_memory
            )  # fmt: skip
        if isinstance(section, AnnData):
            section = section_to_predict(section, fitted)
        if check_memory and not bare:
            check_memory_to_predict(section.owner.n_obs, fitted, name=section.name)
        inputs = as_image_section(section, fitted)
        values = self.predict_arrays(inputs).astype(np.float32)
        np.maximum(values, 0, out=values)  # no scale of counts goes lower, and readers of log1p_cp10k refuse what does
        relative = None if inputs.log_counts is None else self.relative_arrays(inputs, values)
        return write_prediction(
            section, Predicted(inputs, values, relative, self.members), fitted,
            method=self.method, facts=self.training_facts, bare=bare,
        )  # fmt: skip

    def check_memory(self, n_sections: int, n_spots: int, n_columns: int, n_genes: int) -> None:
        """Raise ``ValueError`` if training needs more memory than is available; :meth:`fit` calls it.

        Parameters
        ----------
        n_sections, n_spots
            Number of training sections, and of spots in all of them.
        n_columns
            Number of columns of all embeddings.
        n_genes
            Number of genes of the panel.
        """
        size = TrainingSize(n_sections, n_spots, n_columns, n_genes)
        check_memory_to_train(size, neighbours=self.config.neighbours is not False, n_models=self.n_models)

    @property
    def uses_views(self) -> bool:
        """Whether training draws from the views of each patch, where all training sections have them."""
        return False

    @property
    def keeps_expression(self) -> bool:
        """Whether the trained model holds measured expression of its training sections, as ``learnt.bank``."""
        return getattr(self.learnt, "bank", None) is not None

    @property
    def members(self) -> dict[str, float]:
        """Weights of the models that a stack is made of, by name; empty if it is one model."""
        return {}

    @property
    def genes(self) -> list[str]:
        """The genes that are predicted, in order."""
        return list(self.fitted.genes)

    @property
    def n_genes(self) -> int:
        """Number of predicted genes."""
        return len(self.fitted.genes)

    @property
    def learnt(self) -> Any:
        """What the method's :meth:`fit_arrays` learnt; raises ``RuntimeError`` before :meth:`fit`."""
        return self.fitted.learnt

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the trained model as a folder without pickle; :func:`histoquilt.models.load` reads it.

        A retrieval model contains the measured expression of its training sections; this is logged, and
        ``provenance.json`` names them.

        Raises
        ------
        RuntimeError
            The model is not trained.
        FileExistsError
            The folder holds something and ``overwrite`` is false.
        """
        fitted, state = self.fitted, self.state()
        checkpoint = Checkpoint(
            model=type(self).__name__,
            weights=state.weights,
            config={"settings": self.config.to_dict(), "fitted": fitted.settings(), "method": state.settings},
            arrays={**fitted.arrays(), **{f"method.{name}": value for name, value in state.arrays.items()}},
            genes=fitted.genes,
            provenance=self.training_facts,
        )
        write_checkpoint(checkpoint, folder, overwrite=overwrite)
        if self.keeps_expression:
            logger.warning(
                "%s contains the measured expression of its training sections (%s): whoever gets it gets these data.",
                folder,
                ", ".join(one["name"] for one in self.training_facts["sections"]),
            )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: "torch.device") -> Self:
        """Rebuild a trained model; called by :func:`histoquilt.models.load`."""
        model = cls(cls.config_class.from_dict(checkpoint.config["settings"]))
        model.device = device if model.has_network else resolve_device("cpu")
        model.training_facts = checkpoint.provenance
        state = MethodState(checkpoint.weights, strip_prefix(checkpoint.arrays, "method"), checkpoint.config["method"])
        model._fitted = FittedExpression.restore(checkpoint.config["fitted"], checkpoint.arrays, checkpoint.genes)
        model._fitted = replace(model._fitted, learnt=model.restore(state))
        return model

    def as_part_of(self, whole: "ExpressionModel", name: str, learnt: Any = None) -> Self:
        """Share the device, the inputs and the checkpoint folder of a model that combines several; for its hooks.

        Parameters
        ----------
        whole
            The model that combines several.
        name
            Name of this model among them.
        learnt
            Result of this model's :meth:`fit_arrays`, once it is trained.
        """
        self.device = whole.device if self.has_network else resolve_device("cpu")
        if whole._kept_in is not None:
            folder, job = whole._kept_in
            self._kept_in = folder / name, {**job, "part": name, "settings_of_part": self.config.to_dict()}
        self._fitted = None if whole._fitted is None else replace(whole._fitted, learnt=learnt)
        return self

    def __repr__(self) -> str:
        if self._fitted is None:
            return f"{type(self).__name__}(not trained)"
        reps = ", ".join(map(repr, self._fitted.inputs.reps))
        n_sections = len(self.training_facts["sections"])
        return f"{type(self).__name__}(trained on {n_sections} sections, {self.n_genes:,} genes, {reps})"

    @property
    def fitted(self) -> FittedExpression:
        """What training left behind; raises ``RuntimeError`` before :meth:`fit`."""
        if self._fitted is None:
            name = type(self).__name__
            raise RuntimeError(f"This {name} is not trained. Call .fit(sections), or histoquilt.models.load(folder).")
        return self._fitted

    def _checkpoint(self, name: str, **more: Any) -> TrainingCheckpoint | None:
        """Return the checkpoint file of a network's training, for a method's hooks; ``None`` if none was asked for.

        ``more`` is what the result depends on besides the arguments of ``fit``, ready for JSON.
        """
        if self._kept_in is None:
            return None
        folder, job = self._kept_in
        return TrainingCheckpoint(folder / f"{name}.safetensors", {**job, "network": name, **more}, self.device)

    @property
    def n_models(self) -> int:
        """Number of models that are trained and combined."""
        return 1

    def _job(self, study: TrainingData, seed: int) -> dict[str, Any]:
        """Return what training depends on."""
        arrays: list[np.ndarray | None] = [*study.centres_um, *study.depth]
        for views in study.views:
            arrays += [None] if views is None else views
        return {
            "method": self.method,
            "settings": self.config.to_dict(),
            "seed": seed,
            "names": study.names,
            "groups": study.groups,
            "fields": list(study.reps),
            "genes": study.genes,
            "data": [*study.digests, digest_of_arrays(*arrays)],
        }

    def _facts(self, study: TrainingData, seed: int, seconds: float) -> dict[str, Any]:
        """Return what provenance will say."""
        sections = zip(study.names, study.groups, study.y, study.digests, study.embeddings, strict=True)
        return {
            "method": self.method,
            "seed": seed,
            "device": str(self.device),
            "sections": [
                {
                    "name": name,
                    "group": group,
                    "n_spots": len(y),
                    "digest": digest,
                    "embedding_digest": digest_of_arrays(*embeddings),
                }
                for name, group, y, digest, embeddings in sections
            ],
            "contains_measured_expression": self.keeps_expression,
            "encoders": dict(zip(study.reps, study.records, strict=True)),
            "n_views": 0 if study.views[0] is None else study.views[0][0].shape[1],
            "chosen": self.state().settings,
            "wall_s": seconds,
        }


def _with_log_counts(train: list[ImageSection], folds: list[InnerFold]) -> tuple[DepthHead | None, list[ImageSection]]:
    """Fit the depth head, and add what it predicts to the training sections."""
    found = fit_depth_head(train, folds)
    if found is None:
        logger.info(
            "No training section has raw counts, so depth is not known: predictions have neither log rates relative to "
            "the section (layers['relative_...']) nor obs['predicted_log_counts']."
        )
        return None, train
    head, predicted = found
    return head, [replace(one, log_counts=values) for one, values in zip(train, predicted, strict=True)]
