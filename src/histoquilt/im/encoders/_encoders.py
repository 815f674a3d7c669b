"""Image encoders by name."""

from typing import Any

import pandas as pd

from histoquilt._base import ENCODERS, PatchEncoder, close_matches, is_installed
from histoquilt.im.encoders._he_texture import TextureEncoder
from histoquilt.im.encoders._known_encoders import KNOWN

# forms of the names; those with a colon need an argument after it
_FORMS_BY_KIND = {
    "he_texture": "he_texture",
    "onnx": "onnx:PATH",
    "openvino": "openvino:PATH",
    "timm": "timm:NAME",
    "hf-hub": "hf-hub:ORGANISATION/NAME",
}
_FORMS = ", ".join(map(repr, _FORMS_BY_KIND.values()))
_MEMBERS = ("name", "n_features", "input_px", "mpp", "digest", "licence", "citation", "embed")


def get_encoder(name_or_object: str | PatchEncoder, *, device: str = "auto") -> PatchEncoder:
    """Return an image encoder by name.

    Parameters
    ----------
    name_or_object
        ``"he_texture"``: built in, colour and texture, no weights. ``"onnx:PATH"``: a feature extractor in an ONNX
        file (``"openvino:PATH"``: the same, run by OpenVINO). ``"timm:NAME"``: a model of the timm library.
        ``"hf-hub:ORGANISATION/NAME"``: a model of the Hugging Face Hub, with your own access if it is gated. A name
        that an installed package adds under the entry point ``histoquilt.encoders``. An object with the
        ``PatchEncoder`` protocol is returned unchanged.
    device
        Device of a named network; ``"auto"`` takes a GPU if available. ``he_texture`` and OpenVINO run on the CPU,
        ONNX files too unless onnxruntime's GPU build is installed.

    Raises
    ------
    ValueError, TypeError
        No encoder has this name, or an object lacks a part of the protocol.
    FileNotFoundError, ImportError, PermissionError
        The file or an optional package is missing, or access to a gated model was refused.

    Examples
    --------
    >>> encoder = get_encoder("he_texture")
    >>> encoder.input_px
    112
    """
    if not isinstance(name_or_object, str):
        return _checked(name_or_object)
    kind, colon, rest = name_or_object.partition(":")
    is_whole = bool(rest) or not (colon or ":" in _FORMS_BY_KIND.get(kind, ""))
    if is_whole and kind in ENCODERS:
        return _checked(ENCODERS.load(kind)(rest, device=device))
    known = {name: name for name in (TextureEncoder.name, *ENCODERS.others(), *KNOWN)}
    known |= {name.replace("/", ":").rpartition(":")[2]: name for name in KNOWN}  # e.g. "uni"
    close = dict.fromkeys(known[key] for key in close_matches(name_or_object, known, n=3))
    meant = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    raise ValueError(
        f"Unknown encoder {name_or_object!r}.{meant} Encoders are {_FORMS}; "
        "histoquilt.im.list_encoders() lists the known ones."
    )


def _checked(encoder: Any) -> PatchEncoder:
    missing = [member for member in _MEMBERS if not hasattr(encoder, member)]
    if isinstance(encoder, type):
        raise TypeError(f"Expected an encoder, got the class {encoder.__name__}; make an instance of it.")
    if missing:
        raise TypeError(
            f"Expected the name of an encoder ({_FORMS}) or an object with {', '.join(_MEMBERS)}; "
            f"{type(encoder).__name__} lacks {', '.join(missing)}."
        )
    if not callable(encoder.embed):
        raise TypeError(f"{type(encoder).__name__}.embed must be a method that takes uint8 patches.")
    return encoder


def list_encoders() -> pd.DataFrame:
    """List the encoders known by name; any other ONNX file, timm or Hugging Face Hub model can be used as well.

    Returns
    -------
    DataFrame with ``name``, ``n_features``, ``input_px``, ``mpp`` (missing if any is fine), ``licence``, ``gated``
    (access must be requested), ``extra`` (extra of histoquilt that it needs), ``citation``, ``installed`` (whether the
    packages it needs are).

    Examples
    --------
    >>> list_encoders().set_index("name").loc["he_texture", "installed"]
    np.True_
    """
    texture = TextureEncoder()
    rows: list[dict[str, Any]] = [
        {"name": texture.name, "n_features": texture.n_features, "input_px": texture.input_px, "installed": True},
        {"name": "onnx:PATH", "extra": "onnx", "installed": is_installed("onnxruntime") or is_installed("openvino")},
        {"name": "openvino:PATH", "extra": "openvino", "installed": is_installed("openvino")},
    ]
    has_timm = is_installed("timm") and is_installed("torchvision")
    rows += [{**vars(entry), "extra": "timm", "installed": has_timm} for entry in KNOWN.values()]
    rows += [{"name": name, "installed": True} for name in ENCODERS.others()]
    columns = ["name", "n_features", "input_px", "mpp", "licence", "gated", "extra", "citation", "installed"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.astype({"n_features": "Int64", "input_px": "Int64", "mpp": "Float64"})
    texts = ["licence", "extra", "citation"]
    table[texts] = table[texts].fillna("")
    table["gated"] = table["gated"].eq(True)
    return table
