"""Views of training patches: what an encoder says of each spot's patch when it is turned and mirrored."""

from collections.abc import Sequence

import numpy as np

from histoquilt.runtime import logger
from histoquilt.study import Section, Study


def read_views(
    study: Study, reps: Sequence[str], embeddings: Sequence[tuple[np.ndarray, ...]]
) -> list[tuple[np.ndarray, ...] | None]:
    """Return the views of training sections, ``obsm[f"{rep}_views"]`` of :func:`histoquilt.im.embed_views`.

    Parameters
    ----------
    study
        Training sections.
    reps
        Keys of the embeddings.
    embeddings
        Embeddings of each section, one ``(n_spots, n_features)`` per key.

    Returns
    -------
    One float32 ``(n_spots, n_views, n_features)`` per section and key; an embedding without views is repeated
    unchanged. ``None`` for all sections if one lacks views that another has, or none has any.

    Raises
    ------
    ValueError
        Views do not match the embedding in shape, differ in number, or are not finite.
    """
    keys = [f"{rep}_views" for rep in reps]
    having = [key for key in keys if any(key in section.view.obsm for section in study.values())]
    lacking = [(name, key) for name, section in study.items() for key in having if key not in section.view.obsm]
    if lacking:
        logger.info("No views are drawn in training: section %s has no obsm[%r], others have.", *lacking[0])
    if lacking or not having:
        return [None] * len(study)
    n_views = np.shape(next(iter(study.values())).view.obsm[having[0]])[1]
    found: list[tuple[np.ndarray, ...] | None] = []
    for section, own in zip(study.values(), embeddings, strict=True):
        found.append(
            tuple(
                _checked(section, key, n_views, values.shape[1])
                if key in having
                else np.repeat(values[:, None], n_views, axis=1)
                for key, values in zip(keys, own, strict=True)
            )
        )
    logger.info("Training draws from %d views of each patch (%s).", n_views, ", ".join(having))
    return found


def _checked(section: Section, key: str, n_views: int, width: int) -> np.ndarray:
    views = np.asarray(section.view.obsm[key], dtype=np.float32)
    if views.ndim != 3 or views.shape[1:] != (n_views, width):
        raise ValueError(
            f"obsm[{key!r}] of section {section.name!r} must be (n_spots, {n_views}, {width:,}), as many views as "
            f"other sections and fields have and the width of obsm[{key.removesuffix('_views')!r}]; got "
            f"{views.shape}. Make both with one encoder: histoquilt.im.embed_patches and histoquilt.im.embed_views."
        )
    if not np.isfinite(views).all():
        raise ValueError(
            f"obsm[{key!r}] of section {section.name!r} holds NaN or infinite values. Embed the views again."
        )
    return views
