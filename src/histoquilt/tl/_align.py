"""Alignment of serial sections in one coordinate frame."""

from typing import Any, Literal, get_args

import numpy as np

from histoquilt._base import Keys, check_positive
from histoquilt.align import (
    MOST_SAMPLED,
    Agreement,
    Outline,
    Similarity,
    find_outline,
    fit_outlines,
    fit_transport,
    joint_features,
    outline_residual,
    read_sections,
    write_moves,
)
from histoquilt.runtime import logger, progress_bar, warn_user
from histoquilt.study import Section, Sections, Slots, Study

Method = Literal["outline", "paste"]

POOR_PITCHES = 2.0  # outlines that stay farther apart than this on average are called a poor fit
POOR_AGREEMENT = 0.4  # correlation of expression; 0.65-0.95 in real serial sections, mostly below 0.3 elsewhere
ALIKE_PITCHES = 1.0  # transforms of an outline whose residuals differ by less are equally good
MOST_COMPARED = 12  # of these ways
QUICK_SPOTS = 500  # compared to choose among them


def align_sections(
    sections: Sections,
    *,
    section_key: str = Keys.SECTION,
    spatial_key: str = Keys.SPATIAL,
    method: Method = "outline",
    reference: str | None = None,
    mirror: bool = True,
    n_angles: int = 12,
    refine: bool = True,
    n_sample: int = 1000,
    use_rep: str | None = None,
    layer: str | None = None,
    key_added: str = Keys.ALIGNED,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Align serial sections: rotate, mirror and shift each so that all share one coordinate frame in microns.

    Each section is registered to its neighbour in the stack, on the side of ``reference``, and the moves are chained.
    The stack is ordered by ``obs["z_um"]`` if given, else by the order of the sections: of the list, the dict, or the
    categories of ``obs[section_key]``. Sections are moved rigidly; stretched or folded tissue is not corrected.

    ``"outline"`` lays the border of the tissue on the border of its neighbour (iterated closest points from
    ``n_angles`` starts, of each mirror image; torn pieces and holes hardly matter). ``"paste"`` matches spots by
    expression and by their distances to each other (fused Gromov-Wasserstein transport, as PASTE does; needs the
    ``align`` extra), which also serves where the tissue fills its capture area and so has no outline of its own.
    With ``refine``, expression then decides between equally good fits of the outline, and improves the position found
    by either method.

    Parameters
    ----------
    sections
        One AnnData with ``obs[section_key]``, or a list or dict (name -> AnnData) of sections.
        ``obsm[spatial_key]`` holds spot centres, in pixels or microns, the same in all; microns per pixel come from
        the spot pitch (:func:`histoquilt.io.estimate_mpp`) or else from what is recorded.
    section_key, spatial_key
        Column of ``obs`` with the names of the sections, and key in ``obsm`` of the spot centres.
    method
        ``"outline"`` or ``"paste"``.
    reference
        Name of the section that stays in place; by default the first of the stack.
    mirror
        If true, sections may be mirrored, as happens when one is mounted upside down.
    n_angles
        Number of starting angles of ``"outline"``.
    refine
        If true, compare expression, see above. Otherwise ``"outline"`` does not read expression at all.
    n_sample
        Number of spots of each section that ``"paste"`` matches, at most 2,000: it allocates arrays of size
        ``n_sample ** 2``.
    use_rep
        Embedding in ``obsm`` that is compared instead of genes; it must have the same meaning in all sections.
    layer
        Layer with the expression; by default ``layers["counts"]`` or ``X``.
    key_added
        Key in ``obsm`` for the new coordinates.
    seed
        Random seed of samples; results are reproducible with the same seed on the same machine.
    progress
        If true, show a progress bar on stderr.

    Returns
    -------
    None. Adds to the AnnData, or to each of them:

    ``obsm[key_added]`` : float64 ``(n_spots, 2)``, microns, in the frame of ``reference``
    ``uns["histoquilt"]["alignment"]`` : for each section ``matrix`` ``(2, 2)`` and ``shift`` ``(2,)``, so that
    ``microns @ matrix.T + shift`` is the new place; ``angle_deg`` (from x towards y, after the flip) and ``mirrored``
    of it; ``reference``; ``neighbor``, the section it was registered to; ``residual_um``, mean distance between both
    outlines (closest 80 %); ``agreement``, correlation of expression with the neighbour at the same place (NaN where
    it was not compared); ``method``

    Raises
    ------
    TypeError
        ``sections`` is neither an AnnData nor several of them.
    KeyError
        A key is missing.
    ValueError
        Fewer than two sections, names that repeat, mixed or unknown units, ``z_um`` in some sections only or twice the
        same, an unknown ``method`` or ``reference``, ``n_sample`` out of range, or fewer than 20 genes shared.
    ImportError
        ``method="paste"`` without POT.

    Warns
    -----
    UserWarning
        The residual is more than two spot pitches, expression does not agree, or the outline is nearly symmetric and
        there is no expression to decide.

    See Also
    --------
    stitch_sections : pieces that overlap at their borders.
    place_sections : pieces that lie side by side at known places.

    References
    ----------
    Zeira, Land, Strzalkowski, Raphael. Nature Methods 19: 567-575, 2022 (PASTE).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=100, n_domains=4, n_sections=2, seed=0)
    >>> second = (adata.obs["section"] == "s2").to_numpy()
    >>> adata.obsm["spatial"][second] = adata.obsm["spatial"][second][:, ::-1] * [1, -1]  # a quarter turn
    >>> hq.tl.align_sections(adata)
    >>> round(adata.uns["histoquilt"]["alignment"]["s2"]["angle_deg"] / 10) * 10
    90
    """
    _check_options(method, n_angles, n_sample)
    study = _in_stack_order(read_sections(sections, Slots(spatial_key=spatial_key, section_key=section_key)))
    names, pieces = list(study), list(study.values())
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r} is not a section (found: {', '.join(map(repr, names))}).")
    start = 0 if reference is None else names.index(reference)
    features = _features(pieces, needed=method == "paste", wanted=refine, use_rep=use_rep, layer=layer, seed=seed)
    outlines = [find_outline(piece.microns, piece.pitch_um) for piece in pieces]
    moves = [Similarity.identity()] * len(pieces)
    common = {"reference": names[start], "method": method}
    facts: list[dict[str, Any]] = [{}] * len(pieces)
    facts[start] = {**common, "neighbor": names[start], "residual_um": 0.0, "agreement": float("nan")}
    outwards = [(i, i - 1) for i in range(start + 1, len(pieces))] + [(i, i + 1) for i in reversed(range(start))]
    with progress_bar("Aligning sections", len(outwards), enabled=progress) as advance:
        for i, j in outwards:
            pitch = max(pieces[i].pitch_um, pieces[j].pitch_um)
            pair = [(pieces[k].microns, features[k]) for k in (i, j)] if features else None
            if pair and method == "paste":
                candidates = fit_transport(*pair, mirror=mirror, n_sample=n_sample, seed=seed)
            else:
                candidates = _alike(outlines[i], outlines[j], n_angles, mirror, pitch)
            move, agreement = candidates[0], None
            if pair:
                agreement = Agreement(*pair, pitch=pitch, seed=seed)
                if refine:
                    quick = Agreement(*pair, pitch=pitch, n_spots=QUICK_SPOTS, seed=seed)
                    move = agreement.climb(max((quick.climb(start) for start in candidates), key=quick.score))
            else:
                _warn_of_symmetry(names[i], candidates)
            residual = outline_residual(move, outlines[i], outlines[j])
            agrees = agreement(move) if agreement else float("nan")
            facts[i] = {**common, "neighbor": names[j], "residual_um": residual, "agreement": agrees}
            _report(names[i], names[j], move, residual, agrees, pitch)
            moves[i] = move.then(moves[j])
            advance(note=names[i])
    write_moves(study, moves, facts, key_added)


def _check_options(method: str, n_angles: int, n_sample: int) -> None:
    if method not in get_args(Method):
        raise ValueError(f"Unknown method {method!r}; known are {', '.join(get_args(Method))}.")
    check_positive(n_angles, "n_angles")
    if not 10 <= n_sample <= MOST_SAMPLED:
        raise ValueError(
            f"n_sample must be between 10 and {MOST_SAMPLED:,}, got {n_sample:,}: transport makes dense arrays of "
            "n_sample x n_sample."
        )


def _in_stack_order(study: Study) -> Study:
    """Sort sections by ``z_um`` if they have it."""
    depth = study.places("z_um")
    if depth is None:
        logger.info("No z_um: the stack is taken in the order %s.", ", ".join(study))
        return study
    z = list(depth.values())
    same = [name for name in study if z.count(depth[name]) > 1]
    if same:
        raise ValueError(
            f"Sections {', '.join(map(repr, same))} lie at the same z_um, so they are not stacked. Sections side by "
            "side go to histoquilt.tl.place_sections or stitch_sections; else correct z_um."
        )
    return study.select(study.stack_order())


def _features(
    pieces: list[Section], *, needed: bool, wanted: bool, use_rep: str | None, layer: str | None, seed: int
) -> list[np.ndarray] | None:
    """Return features of all sections on common axes; None if the sections have no expression and need none."""
    if not (needed or wanted):
        return None
    if not needed and use_rep is None and min(piece.owner.n_vars for piece in pieces) == 0:
        logger.info("The sections have no expression: only their outlines are compared.")
        return None
    sections, names, places = zip(*((p.view, p.name, p.microns) for p in pieces), strict=True)
    return joint_features(sections, names, places, use_rep=use_rep, layer=layer, seed=seed)


def _alike(moving: Outline, fixed: Outline, n_angles: int, mirror: bool, pitch: float) -> list[Similarity]:
    """Return the transforms whose outlines fit about as well as the best one, best first."""
    fits = fit_outlines(moving, fixed, n_angles=n_angles, mirror=mirror, pitch=pitch)
    return [fit.move for fit in fits if fit.residual < fits[0].residual + ALIKE_PITCHES * pitch][:MOST_COMPARED]


def _warn_of_symmetry(name: str, moves: list[Similarity]) -> None:
    rivals = [move for move in moves[1:] if _differ(move, moves[0])]
    if rivals:
        ways = [f"{m.angle_deg:.0f} degrees{' and mirrored' if m.mirrored else ''}" for m in (moves[0], rivals[0])]
        warn_user(
            f"The outline of section {name!r} is nearly symmetric: turned by {ways[0]} or by {ways[1]} it fits about "
            "as well, and there is no expression to decide. The first was taken; pass refine=True if genes are there."
        )


def _differ(one: Similarity, other: Similarity) -> bool:
    """Return whether two transforms differ by more than a small rotation."""
    between = Similarity(one.matrix @ other.matrix.T, np.zeros(2))
    return between.mirrored or abs(between.angle_deg) > 15


def _report(name: str, neighbor: str, move: Similarity, residual: float, agreement: float, pitch: float) -> None:
    """Log how well a section fits its neighbour; warn of a poor fit."""
    how = f"turned by {move.angle_deg:.1f} degrees{', mirrored' if move.mirrored else ''}"
    compared = "" if np.isnan(agreement) else f", expression agrees by {agreement:.2f}"
    logger.info("Section %s on %s: %s, outlines %.0f um apart%s.", name, neighbor, how, residual, compared)
    if residual > POOR_PITCHES * pitch:
        warn_user(
            f"Section {name!r} fits {neighbor!r} poorly: their outlines are {residual:.0f} um apart on average, more "
            f"than {POOR_PITCHES:g} spot pitches of {pitch:.0f} um{compared}. Tissue may be missing, torn or cut at "
            "the capture area's border; look at obsm['spatial_aligned'], or try method='paste'."
        )
    if agreement < POOR_AGREEMENT:
        warn_user(
            f"Section {name!r} fits {neighbor!r} poorly: expression at the same place correlates by only "
            f"{agreement:.2f}. Are these serial sections of one tissue, and is their order right?"
        )
