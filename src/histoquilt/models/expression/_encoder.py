"""The image encoders that an expression model was trained with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from histoquilt._base import PatchEncoder, argument

if TYPE_CHECKING:
    from histoquilt.models.expression._model import ExpressionModel

Encoders = str | PatchEncoder | Sequence[str | PatchEncoder] | None


def trained_encoders(model: "ExpressionModel", encoder: Encoders = None, *, device: str = "auto") -> list[PatchEncoder]:
    """Return the image encoders that a model was trained with, loaded and checked.

    Parameters
    ----------
    model
        Trained model.
    encoder
        Names (:func:`histoquilt.im.list_encoders`) or objects, one or several, of encoders whose weights have moved;
        the others are loaded by the name that was recorded.
    device
        Device on which the encoders run.

    Returns
    -------
    Encoders in the order of the model's embeddings; empty if the model reads pixels itself, or was trained on
    embeddings without a record.

    Raises
    ------
    ValueError
        ``encoder`` is another one than in training, or the model uses none.
    FileNotFoundError, PermissionError, ImportError
        The encoder cannot be loaded.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> image = np.random.default_rng(0).integers(0, 255, (800, 800, 3), np.uint8)
    >>> study = hq.datasets.paired_study(n_sections=2, n_spots=30, n_genes=20, seed=0)
    >>> for adata in study.values():
    ...     hq.im.embed_patches(adata, image, mpp=1, encoder="he_texture", field_um=60, progress=False)
    >>> model = hq.models.RidgeOnEmbedding().fit(study)
    >>> [encoder.name for encoder in hq.models.trained_encoders(model)]
    ['he_texture']
    """
    return load_encoders(model.fitted.inputs.records, encoder, device)


def load_encoders(records: Sequence[dict[str, Any]], encoder: Encoders, device: str = "auto") -> list[PatchEncoder]:
    """Return the encoders of some records; see :func:`trained_encoders`."""
    given: list[Any] = [] if encoder is None else list(encoder) if isinstance(encoder, list | tuple) else [encoder]
    trained: dict[str, str] = {one["digest"]: one["encoder"] for one in records if "encoder" in one}
    if not trained:
        if given:
            origin = "was trained on embeddings of unrecorded origin"
            why = "reads pixels itself and takes no encoder" if any(records) else origin
            raise ValueError(f"the model {why}; leave {argument('encoder')} out.")
        return []
    found = {}
    for one in given:
        loaded = _load(one, ", ".join(trained.values()), device)
        if loaded.digest not in trained:
            known = " and ".join(f"{name} (digest {digest[:12]})" for digest, name in trained.items())
            raise ValueError(
                f"the model was trained with the encoder {known}, and {loaded.name} is another one (digest "
                f"{loaded.digest[:12]}). Predictions would be meaningless: give the model's own with "
                f"{argument('encoder')}."
            )
        found[loaded.digest] = loaded
    for digest, name in trained.items():
        if digest not in found:
            found[digest] = _load(name, name, device)
            if found[digest].digest != digest:
                raise ValueError(
                    f"the model was trained with the encoder {name} (digest {digest[:12]}), and {name} is another one "
                    f"now (digest {found[digest].digest[:12]}). Predictions would be meaningless: give the model's own "
                    f"with {argument('encoder')}."
                )
    return [found[digest] for digest in trained]


def _load(encoder: str | PatchEncoder, trained: str, device: str) -> PatchEncoder:
    from histoquilt import im

    try:
        return im.get_encoder(encoder, device=device)
    except (FileNotFoundError, ValueError, ImportError, PermissionError) as error:
        raise type(error)(f"the model's encoder {trained}: {error}") from error
