"""From a section or a slide to the arrays a method predicts from, and from its prediction to an AnnData."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

import histoquilt
from histoquilt._base import Keys, SlideImage, argument, check_positive, listed
from histoquilt.models._checkpoint import digest_of_arrays
from histoquilt.models.expression._checkpoint import FittedExpression
from histoquilt.models.expression._encoder import Encoders, load_encoders
from histoquilt.models.expression._inputs import ImageSection, check_same_encoder, near_spots
from histoquilt.models.expression._prediction_memory import check_memory_to_predict
from histoquilt.models.expression._targets import measure
from histoquilt.models.expression.unlike._stain import read_stain
from histoquilt.models.expression.unlike._verdict import Unlike
from histoquilt.runtime import logger, warn_user
from histoquilt.study import Section, Slots, check_adata, check_one_section, declare_scale, provenance, write_result

PREDICTED_LOG_COUNTS = "predicted_log_counts"


def section_to_predict(adata: AnnData, fitted: FittedExpression) -> Section:
    """Return the one section that an AnnData holds, checked."""
    check_adata(adata)
    name = section_name(adata, fitted.section_key)
    check_one_section(adata, spatial_key=fitted.spatial_key, name=name)
    return Section(name, adata, Slots(fitted.spatial_key, fitted.section_key, fitted.layer))


def as_image_section(section: Section, fitted: FittedExpression) -> ImageSection:
    """Return what a method may see of a section that is predicted."""
    inputs = fitted.inputs
    reps = section.embeddings(inputs.reps)
    for rep, values, width, record in zip(inputs.reps, reps, inputs.widths, inputs.records, strict=True):
        check_same_encoder(section.record(rep), record, rep, section.name, "the model's training sections")
        if values.shape[1] != width:
            raise ValueError(
                f"obsm[{rep!r}] of section {section.name!r} has {values.shape[1]:,} columns, the model was trained on "
                f"{width:,}. {_remedy_of_width(record)}"
            )
    adjacency = near_spots(section)
    x = inputs.standardise(reps, adjacency)
    # a section to predict is a group of its own: no training section may be withheld from it here
    log_counts = None if fitted.depth_head is None else fitted.depth_head.predict(x)
    return ImageSection(
        section.name, section.name, reps, x, section.microns, adjacency, own_moments=inputs.own_moments,
        log_counts=log_counts,
    )  # fmt: skip


def _remedy_of_width(record: dict[str, Any]) -> str:
    if "px" in record:
        return f"Cut patches with px={record['px']}, field_um={record['field_um']:g} (histoquilt.im.cut_patches)."
    return f"Embed the section with the model's encoder ({record.get('encoder', 'not recorded')})."


def section_name(adata: AnnData, section_key: str) -> str:
    """Return the name of the one section that an AnnData holds."""
    if section_key not in adata.obs:
        return "section"
    names = adata.obs[section_key].astype(str).unique()
    if len(names) > 1:
        raise ValueError(
            f"predict takes one section, obs[{section_key!r}] names {len(names)}: {listed(names)}. Take them apart "
            "with histoquilt.io.split_sections and predict each."
        )
    return str(names[0])


def embed_slide(
    slide: Any,
    fitted: FittedExpression,
    mpp: float | None,
    pitch_um: float | None,
    encoder: Encoders,
    *,
    progress: bool,
    check_memory: bool,
) -> AnnData:
    """Lay spots over the tissue of a bare slide and embed them as the training sections were embedded."""
    from histoquilt import im, io

    if isinstance(slide, str | PathLike):
        with io.open_slide(Path(slide)) as opened:
            return embed_slide(
                opened, fitted, mpp, pitch_um, encoder, progress=progress, check_memory=check_memory
            )  # fmt: skip
    if not isinstance(slide, np.ndarray | SlideImage):
        raise TypeError(
            f"Expected an AnnData, the path of a slide, an opened slide or an RGB array, got {type(slide).__name__}."
        )
    name = getattr(slide, "name", "slide")
    unknown = [rep for rep, record in zip(fitted.inputs.reps, fitted.inputs.records, strict=True) if not record]
    if unknown:
        raise ValueError(
            f"The model was trained on embeddings whose encoder is not recorded ({listed(unknown)}), so a bare slide "
            "cannot be embedded. Lay spots with histoquilt.im.grid_spots, embed them yourself into these keys, and "
            "predict that AnnData; or train on embeddings that histoquilt.im.embed_patches made, or on pixels of "
            "histoquilt.im.cut_patches."
        )
    if mpp is None:
        mpp = getattr(slide, "mpp", None)
    if mpp is None:
        raise ValueError(f"{name}: the image does not say how many microns a pixel is. Pass {argument('mpp')}.")
    check_positive(mpp, "mpp")
    pitch_um = fitted.pitch_um if pitch_um is None else pitch_um
    spots = im.grid_spots(slide, mpp=mpp, pitch_um=pitch_um)
    if check_memory:
        check_memory_to_predict(spots.n_obs, fitted, name=name, bare=True, pitch_um=pitch_um)
    describe_spots(spots, slide, fitted, mpp=mpp, encoder=encoder, progress=progress)
    spots.obsm[fitted.spatial_key] = spots.obsm[Keys.SPATIAL]
    spots.obs[fitted.section_key] = pd.Categorical([name] * spots.n_obs)
    return spots


def describe_spots(
    adata: AnnData,
    slide: SlideImage | np.ndarray,
    fitted: FittedExpression,
    *,
    mpp: float,
    encoder: Encoders,
    spatial_key: str = Keys.SPATIAL,
    image_scale: float = 1.0,
    cache: Path | None = None,
    progress: bool,
) -> None:
    """Write the model's inputs into ``obsm``: embeddings of the image around each spot, or its pixels.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> class MeanColor:
    ...     name, n_features, input_px, mpp, digest, licence, citation = "mean_color", 3, 16, None, "1", "", ""
    ...     def embed(self, patches):
    ...         return patches.mean(axis=(1, 2), dtype=np.float32)
    >>> image = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    >>> study = hq.datasets.paired_study(n_sections=2, n_spots=30, n_genes=20, seed=0)
    >>> for adata in study.values():
    ...     hq.im.embed_patches(adata, image, mpp=1, encoder=MeanColor(), field_um=50, progress=False)
    >>> model = hq.models.RidgeOnEmbedding().fit(study)
    >>> new = study["s1"][:20, :0].copy()
    >>> del new.obsm["X_mean_color"]
    >>> hq.models.describe_spots(new, image, model.fitted, mpp=1, encoder=MeanColor(), progress=False)
    >>> new.obsm["X_mean_color"].shape
    (20, 3)
    """
    from histoquilt import im

    place: dict[str, Any] = {"mpp": mpp, "spatial_key": spatial_key, "image_scale": image_scale}
    records = dict(zip(fitted.inputs.reps, fitted.inputs.records, strict=True))
    for key, record in records.items():
        if "px" in record:  # the model reads pixels itself
            im.cut_patches(adata, slide, **place, field_um=record["field_um"], px=record["px"], key_added=key)
    encoders = {one.digest: one for one in load_encoders(fitted.inputs.records, encoder)}
    for fields, calls in _by_region(fitted):
        im.embed_patches(
            adata,
            slide,
            **place,
            encoder=[encoders[digest] for digest in calls.values()],
            field_um=fields,
            key_added=list(calls),
            cache=cache,
            progress=progress,
        )


def _by_region(fitted: FittedExpression) -> list[tuple[list[float] | float, dict[str, str]]]:
    """Group embeddings that one call makes, each region of the slide being read once for all fields and encoders.

    Returns
    -------
    ``field_um`` of each call, and its ``key_added`` -> digest of the encoder. The call that measures the stain on the
    same field as in training comes last: each call writes it.
    """
    of_key: dict[str, tuple[str, list[float]]] = {}  # key without the field -> digest and fields
    for rep, record in zip(fitted.inputs.reps, fitted.inputs.records, strict=True):
        if "px" in record:
            continue
        field, digest = float(record["field_um"]), record["digest"]
        key = rep.removesuffix(f"_{field:g}um")
        if key in fitted.inputs.reps or of_key.get(key, (digest,))[0] != digest:
            key = rep
        of_key.setdefault(key, (digest, []))[1].append(field)
    calls: list[tuple[list[float] | float, dict[str, str]]] = []
    for key, (digest, fields) in of_key.items():
        asked = fields[0] if key in fitted.inputs.reps else fields
        made = next((made for other, made in calls if other == asked and digest not in made.values()), None)
        if made is None:
            calls.append((asked, {key: digest}))
        else:
            made[key] = digest
    stain = fitted.stain
    return sorted(calls, key=lambda call: stain is not None and np.ravel(call[0])[0] == stain.field_um)


@dataclass(frozen=True)
class Predicted:
    """Prediction of one section.

    Attributes
    ----------
    inputs
        The section as the method sees it.
    expression
        Log1p of counts per 10,000, ``(n_spots, n_genes)`` float32.
    relative
        Log rate relative to the section, ``(n_spots, n_genes)`` float32; ``None`` if training knew no depth.
    members
        Weights of the models of a stack, by name; empty for one model.
    """

    inputs: ImageSection
    expression: np.ndarray
    relative: np.ndarray | None
    members: dict[str, float]


def write_prediction(
    section: Section,
    arrays: Predicted,
    fitted: FittedExpression,
    *,
    method: str,
    facts: dict[str, Any],
    bare: bool,
) -> AnnData:
    """Return the prediction as an AnnData of its own; see :meth:`ExpressionModel.predict`."""
    adata, values = section.adata, arrays.expression
    unlike = _unlike_training(section, fitted, arrays.inputs)
    seen = _trained_on(arrays.inputs, facts)
    caution = fitted.reliability.caution if unlike.transfer.transfers else unlike.transfer.caution
    key = f"predicted_{method}"
    predicted = AnnData(
        X=values.copy() if bare else None,
        obs=adata.obs.copy(),
        var=_gene_table(fitted, unlike),
        obsm={name: value.copy() for name, value in adata.obsm.items()},
        uns={name: copy.deepcopy(value) for name, value in adata.uns.items() if name in (Keys.SPATIAL, Keys.UNS)},
        layers={key: values},
    )
    write_result(predicted, "obs", Keys.OUT_OF_DISTRIBUTION, unlike.outside)
    write_result(predicted, "obs", f"{Keys.OUT_OF_DISTRIBUTION}_score", unlike.score)
    write_result(predicted, "obsm", Keys.IN_MICRONS, section.microns)
    if section.mpp is not None:
        write_result(predicted, "obsm", Keys.IN_PIXELS, section.centres)
    ours = provenance(predicted)
    # scales of matrices that stay behind, denoised ones apart
    ours[Keys.SCALE] = {name: scale for name, scale in ours.get(Keys.SCALE, {}).items() if name in predicted.obsm}
    for name in [key] + (["X"] if bare else []):
        declare_scale(predicted, name, "log1p_cp10k")
    log_counts = arrays.inputs.log_counts
    if arrays.relative is not None and log_counts is not None:
        relative = f"relative_{method}"
        predicted.layers[relative] = arrays.relative
        declare_scale(predicted, relative, "log_relative")
        write_result(predicted, "obs", PREDICTED_LOG_COUNTS, log_counts.astype(np.float32))
    _set_measured_beside(section, predicted)
    ours["prediction"] = {
        "method": method,
        "layer": key,
        "section": section.name,
        "bare_slide": bare,
        "trained_on": ", ".join(one["name"] for one in facts["sections"]),
        "seed": facts["seed"],
        **({"members": weights_in_words(arrays.members)} if arrays.members else {}),
        **unlike.shares(),
        **({"seen_in_training": seen} if seen else {}),
        **({"caution": caution} if caution else {}),
        "version": histoquilt.__version__,
    }
    unlike.warn(section.name)
    if seen:
        warn_seen(section.name, "section", seen)
    if caution and unlike.transfer.transfers:  # else the warning has said it
        logger.warning("%s, %s: %s", section.name, method, caution)
    return predicted


def warn_seen(name: str, what: str, seen: str) -> None:
    """Warn that the model was trained on this ``what``, under the name ``seen``.

    Examples
    --------
    >>> import warnings, histoquilt as hq
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     hq.models.warn_seen("s4", "image", "s1")
    >>> print(str(caught[0].message).partition(". ")[0])
    s4: the model was trained on this image (as 's1')
    """
    warn_user(
        f"{name}: the model was trained on this {what} (as {seen!r}). How well the prediction agrees with the "
        "measurement says nothing about new tissue."
    )


def weights_in_words(members: Mapping[str, float]) -> str:
    """Name the members of a stack with their weights.

    >>> weights_in_words({"knn": 0.6, "ridge": 0.4, "mean": 0.0})
    'knn 0.60, ridge 0.40, mean (weight 0)'
    """
    return ", ".join(f"{name} {weight:.2f}" if weight else f"{name} (weight 0)" for name, weight in members.items())


def _trained_on(inputs: ImageSection, facts: dict[str, Any]) -> str | None:
    """Return the name of the training section that has the same embeddings; ``None`` if there is none."""
    found = digest_of_arrays(*inputs.reps)
    return next((one["name"] for one in facts["sections"] if one.get("embedding_digest") == found), None)


def _unlike_training(section: Section, fitted: FittedExpression, seen: ImageSection) -> Unlike:
    stain = None if fitted.stain is None else read_stain(section, fitted.stain)
    obs = section.view.obs  # the spots of a bare slide know how much tissue is around them
    tissue = obs["tissue_fraction"].to_numpy() if "tissue_fraction" in obs else None
    return Unlike(
        embedding=fitted.distribution.score(np.hstack(section.embeddings(fitted.inputs.reps))),
        stain=fitted.stain.score(stain, tissue) if fitted.stain is not None and stain is not None else None,
        transfer=fitted.transfer.measure(fitted.inputs.own_standardised(seen)),
    )


def _gene_table(fitted: FittedExpression, unlike: Unlike) -> pd.DataFrame:
    table = pd.DataFrame(index=pd.Index(fitted.genes, dtype=object))
    if fitted.symbols is not None:
        table[Keys.GENE_SYMBOL] = fitted.symbols
    table["reliability"] = fitted.reliability.correlation
    adjusted = fitted.reliability.adjusted
    # nothing is claimed for tissue on which training says nothing
    table["reliability_adjusted"] = adjusted if unlike.transfer.transfers else np.where(np.isnan(adjusted), np.nan, 0.0)
    if unlike.transfer.judged:
        table["reliability_transfers"] = unlike.transfer.transfers
    table["beats_mean"] = fitted.reliability.beats_mean
    table["n_folds"] = fitted.reliability.n_folds
    return table


def _set_measured_beside(section: Section, predicted: AnnData) -> None:
    """Add the measured expression if the whole panel was measured: scores of a part would be taken for the whole."""
    known = section.owner.var_names
    if len(known) == 0:
        return
    panel = list(predicted.var_names)
    missing = [gene for gene in panel if gene not in known]
    if missing:
        warn_user(
            f"{section.name} measured {len(panel) - len(missing):,} of the {len(panel):,} predicted genes, so its "
            f"measured expression is not added to the prediction. Missing, first five: {listed(missing, 5)}."
        )
        return
    try:
        measured = measure(section)
    except (KeyError, ValueError) as error:
        logger.info("%s: measured expression is not added to the prediction. %s", section.name, error)
        return
    predicted.layers[Keys.MEASURED] = measured.of(panel)
    declare_scale(predicted, Keys.MEASURED, "log1p_cp10k")
    if measured.depth is not None:
        write_result(predicted, "obs", Keys.MEASURED_COUNTS, measured.depth)
