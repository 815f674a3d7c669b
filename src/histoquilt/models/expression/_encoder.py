"""The image encoder that an expression model was trained with."""

from typing import TYPE_CHECKING

from histoquilt._base import PatchEncoder, argument

if TYPE_CHECKING:
    from histoquilt.models.expression._model import ExpressionModel


def trained_encoder(model: "ExpressionModel", name: str | None = None, *, device: str = "auto") -> PatchEncoder | None:
    """Return the image encoder that a model was trained with, loaded and checked.

    Parameters
    ----------
    model
        Trained model.
    name
        Name of the encoder (:func:`histoquilt.im.list_encoders`), if its weights have moved; by default the recorded
        one.
    device
        Device on which the encoder runs.

    Returns
    -------
    The encoder; None if the model reads pixels itself, or was trained on embeddings without a record.

    Raises
    ------
    ValueError
        ``name`` is another encoder, or the model uses none.
    FileNotFoundError, PermissionError, ImportError
        The encoder cannot be loaded.
    """
    from histoquilt import im

    records = [record for record in model.fitted.inputs.records if record]
    if not records or "encoder" not in records[0]:
        if name is not None:
            origin = "was trained on embeddings of unrecorded origin"
            why = "reads pixels itself and takes no encoder" if records else origin
            raise ValueError(f"the model {why}; leave {argument('encoder')} out.")
        return None
    trained = records[0]
    try:
        encoder = im.get_encoder(name or trained["encoder"], device=device)
    except (FileNotFoundError, ValueError, ImportError, PermissionError) as error:
        raise type(error)(f"the model's encoder {trained['encoder']}: {error}") from error
    if encoder.digest != trained["digest"]:
        raise ValueError(
            f"the model was trained with the encoder {trained['encoder']} (digest {trained['digest'][:12]}), and "
            f"{encoder.name} is another one (digest {encoder.digest[:12]}). Predictions would be meaningless: give the "
            f"model's own with {argument('encoder')}."
        )
    return encoder
