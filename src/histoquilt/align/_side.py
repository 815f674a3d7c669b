"""Sections side by side: put at given places, or stitched where they overlap."""

from functools import partial
from typing import Any

import numpy as np

from histoquilt._base import Keys
from histoquilt.align._expression import joint_features
from histoquilt.align._input import read_sections, write_moves
from histoquilt.align._match import Fit, fit_overlap
from histoquilt.align._transform import Similarity
from histoquilt.runtime import logger, progress_bar
from histoquilt.study import Section, Sections, Slots

LEAST_EVIDENCE = 2.0  # on cut Visium and toy sections: 2.4-19 where pieces overlap, at most 1.5 where they do not
N_SMOOTH = 3  # times that spots are averaged with their neighbours before matching


def place_sections(
    sections: Sections,
    *,
    section_key: str = Keys.SECTION,
    spatial_key: str = Keys.SPATIAL,
    key_added: str = Keys.ALIGNED,
) -> None:
    """Put sections at ``obs["x_um"]`` and ``obs["y_um"]`` in one frame in microns.

    The origin of a section's own coordinates is moved to ``(x_um, y_um)``; nothing is rotated.

    Parameters
    ----------
    sections
        One AnnData with ``obs[section_key]``, or a list or dict (name -> AnnData) of sections, in pixels or microns;
        ``obs["x_um"]`` and ``obs["y_um"]`` are constant in each.
    section_key, spatial_key, key_added
        Column of ``obs`` with the names of the sections; keys in ``obsm`` of the spot centres, and of the result.

    Returns
    -------
    None. Adds ``obsm[key_added]`` and ``uns["histoquilt"]["alignment"]`` as :func:`align_sections` does (``method`` is
    ``"placed"``; nothing is compared, so ``residual_um`` and ``agreement`` are NaN).

    Raises
    ------
    KeyError
        A key is missing.
    ValueError
        ``x_um`` or ``y_um`` is missing for a section or differs inside one, or as for :func:`align_sections`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=50, n_domains=4, n_sections=2, seed=0)
    >>> adata.obs["x_um"] = (adata.obs["section"] == "s2") * 5000.0
    >>> adata.obs["y_um"] = 0.0
    >>> hq.tl.place_sections(adata)
    >>> adata.uns["histoquilt"]["alignment"]["s2"]["shift"].tolist()
    [5000.0, 0.0]
    """
    study = read_sections(sections, Slots(spatial_key=spatial_key, section_key=section_key))
    places = [(section.place("x_um"), section.place("y_um")) for section in study.values()]
    without = [name for name, place in zip(study, places, strict=True) if None in place]
    if without:
        raise ValueError(
            f"obs['x_um'] and obs['y_um'] say where a section lies; without them: {', '.join(map(repr, without))}. "
            "Give them for all sections, or find the places with histoquilt.tl.stitch_sections where they overlap."
        )
    moves = [Similarity(np.eye(2), np.array(place, dtype=np.float64)) for place in places]
    unknown = {"residual_um": float("nan"), "agreement": float("nan"), "method": "placed"}
    facts = [{"reference": name, "neighbor": name, **unknown} for name in study]
    write_moves(study, moves, facts, key_added)


def stitch_sections(
    sections: Sections,
    *,
    section_key: str = Keys.SECTION,
    spatial_key: str = Keys.SPATIAL,
    reference: str | None = None,
    mirror: bool = False,
    allow_scale: bool = True,
    use_rep: str | None = None,
    layer: str | None = None,
    key_added: str = Keys.ALIGNED,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Stitch pieces of one tissue that overlap at their borders, whatever their rotation and scale.

    Spots of two pieces that are mutual nearest neighbours in expression are matched; the transform that most of them
    agree with (RANSAC) is refined until expression agrees best in the overlap. Starting from ``reference``, the
    best-fitting piece is joined next.

    Parameters
    ----------
    sections
        One AnnData with ``obs[section_key]``, or a list or dict (name -> AnnData) of sections, in pixels or microns.
    section_key, spatial_key, key_added
        Column of ``obs`` with the names of the sections; keys in ``obsm`` of the spot centres, and of the result.
    reference
        Name of the piece that stays in place; by default the first.
    mirror, allow_scale
        If true, pieces may be mirrored (allow this only if it can have happened, since layered tissue fits its mirror
        image nearly as well), or rescaled (needed if the microns per pixel of a piece are wrong).
    use_rep, layer
        Embedding in ``obsm``, with the same meaning in all pieces, that is compared instead of genes; layer with the
        expression, by default ``layers["counts"]`` or ``X``.
    seed, progress
        Random seed; if ``progress``, show a progress bar on stderr.

    Returns
    -------
    None. Adds ``obsm[key_added]`` and ``uns["histoquilt"]["alignment"]`` as :func:`align_sections` does. There
    ``method`` is ``"stitched"``, ``residual_um`` is NaN, ``agreement`` is the correlation of expression in the overlap;
    added are ``scale``, ``n_overlap`` (spots on the neighbor) and ``evidence`` (matches that agree with the transform,
    over those that agree with the best transform of shuffled matches, times ``agreement``; 2 is needed).

    Raises
    ------
    KeyError
        A key is missing.
    ValueError
        A piece overlaps none of the others convincingly, ``reference`` is not the name of a section, or as for
        :func:`align_sections`.

    See Also
    --------
    place_sections : pieces that do not overlap.

    Examples
    --------
    >>> import histoquilt as hq
    >>> whole = hq.datasets.toy_section(n_spots=800, n_genes=200, n_domains=4, seed=0)
    >>> x = whole.obsm["spatial"][:, 0]
    >>> left, right = whole[x < 2200].copy(), whole[x > 1300].copy()
    >>> right.obsm["spatial"] = right.obsm["spatial"][:, ::-1] * [1, -1]  # a quarter turn
    >>> hq.tl.stitch_sections({"left": left, "right": right})
    >>> round(right.uns["histoquilt"]["alignment"]["right"]["angle_deg"] / 5) * 5
    90
    """
    study = read_sections(sections, Slots(spatial_key=spatial_key, section_key=section_key))
    names, pieces = list(study), list(study.values())
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r} is not a section (found: {', '.join(map(repr, names))}).")
    start = 0 if reference is None else names.index(reference)
    moves: dict[int, Similarity] = {start: Similarity.identity()}
    facts: dict[int, dict[str, Any]] = {start: _fact(names[start], names[start], None)}
    fits: dict[tuple[int, int], Fit] = {}
    fit_pair = partial(_fit, mirror=mirror, allow_scale=allow_scale, use_rep=use_rep, layer=layer, seed=seed)
    with progress_bar("Stitching sections", len(pieces) - 1, enabled=progress) as advance:
        while len(moves) < len(pieces):
            for i in set(range(len(pieces))) - set(moves):
                for j in moves:
                    if (i, j) not in fits:
                        fits[i, j] = fit_pair(pieces[i], pieces[j])
            waiting = {pair: fit for pair, fit in fits.items() if pair[0] not in moves}
            (i, j), best = max(waiting.items(), key=lambda item: (item[1].evidence, -item[0][0]))
            if best.evidence < LEAST_EVIDENCE:
                left = [name for k, name in enumerate(names) if k not in moves]
                raise ValueError(
                    f"{', '.join(map(repr, left))} could not be stitched: of the spots that match in expression "
                    f"{best.n_agree:,} agree on a place, against {best.n_chance:,} by chance, and there expression "
                    f"correlates by {best.agreement:.2f} (evidence {best.evidence:.1f}, at least {LEAST_EVIDENCE:g} is "
                    "needed). So the pieces do not overlap, or too little. Where their places are known, give x_um and "
                    "y_um to histoquilt.tl.place_sections."
                )
            moves[i] = best.move.then(moves[j])
            facts[i] = _fact(names[start], names[j], best)
            logger.info(
                "Section %s stitched to %s: turned by %.1f degrees, scaled by %.3f, %d spots overlap, agreement %.2f.",
                names[i], names[j], best.move.angle_deg, best.move.scale, best.n_overlap, best.agreement,
            )  # fmt: skip
            advance(note=names[i])
    everything = range(len(pieces))
    write_moves(study, [moves[i] for i in everything], [facts[i] for i in everything], key_added)


def _fit(
    moving: Section, fixed: Section, *, mirror: bool, allow_scale: bool, use_rep: str | None, layer: str | None,
    seed: int,
) -> Fit:  # fmt: skip
    """Fit one piece to another: on raw expression first, and without batch effects if that is not convincing.

    Removing batch effects before matching also removes differences of the pieces as tissue.
    """
    pieces = (moving, fixed)
    views, names, places = zip(*((piece.view, piece.name, piece.microns) for piece in pieces), strict=True)
    tried = []
    for by_section in (False, True):
        features = joint_features(
            views, names, places, use_rep=use_rep, layer=layer, n_smooth=N_SMOOTH, by_section=by_section, seed=seed
        )
        fit = fit_overlap(
            (moving.microns, features[0]), (fixed.microns, features[1]), pitch=fixed.pitch_um, mirror=mirror,
            allow_scale=allow_scale, seed=seed,
        )  # fmt: skip
        tried.append(fit)
        if fit.evidence >= LEAST_EVIDENCE or use_rep is not None:
            break
    return max(tried, key=lambda fit: fit.evidence)


def _fact(reference: str, neighbor: str, fit: Fit | None) -> dict[str, Any]:
    """Return the record of a piece; the one that stays in place has no fit."""
    nan = float("nan")
    return {
        "reference": reference,
        "neighbor": neighbor,
        "method": "stitched",
        "residual_um": nan,
        "agreement": fit.agreement if fit else nan,
        "scale": fit.move.scale if fit else 1.0,
        "n_overlap": fit.n_overlap if fit else 0,
        "evidence": fit.evidence if fit else nan,
    }
