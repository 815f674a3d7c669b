"""The encoders ``timm:NAME`` and ``hf-hub:ORGANISATION/NAME``: networks built by timm, with the user's own access."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from histoquilt._base import close_matches, require
from histoquilt.im.encoders._check_patches import check_patches
from histoquilt.im.encoders._known_encoders import KNOWN, NOT_TIMM, KnownEncoder
from histoquilt.runtime import resolve_device

if TYPE_CHECKING:
    import torch

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN")
_REFUSED = ("gated", "401", "403", "unauthorized", "forbidden", "restricted", "awaiting a review")


class TimmEncoder:
    """Pooled features of a network from the timm library or the Hugging Face Hub.

    Weights are read as safetensors, or by PyTorch with ``weights_only=True``. Input size, mean and standard deviation
    are the model's own; resolution, licence and citation come from the registry (:func:`list_encoders`).

    Parameters
    ----------
    name
        ``timm:resnet50``, ``hf-hub:MahmoodLab/UNI``.
    device
        ``"auto"`` (CUDA if available), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    pretrained, seed
        Load the published weights, or draw random ones, which serves tests.

    Raises
    ------
    ImportError
        timm or torchvision is not installed, or does not fit the installed PyTorch.
    PermissionError, ConnectionError
        Access to a gated model was refused, or the weights could not be downloaded.
    ValueError
        timm has no such model, or it does not return one vector per patch.
    """

    def __init__(
        self, name: str, *, device: "str | torch.device" = "auto", pretrained: bool = True, seed: int = 0
    ) -> None:
        kind, _, model_name = name.partition(":")
        if kind == "hf-hub" and model_name in NOT_TIMM:
            raise ValueError(
                f"{name} cannot be built by timm: it is {NOT_TIMM[model_name]}. Otherwise export it to ONNX and use "
                "'onnx:PATH', or compute its embedding elsewhere and put it into adata.obsm."
            )
        self.name = name
        entry = KNOWN.get(name)
        self.device = resolve_device(device)
        timm = _import_timm(name)
        self._model = _build(timm, name, entry, pretrained, seed).eval().to(self.device)
        config = timm.data.resolve_model_data_config(self._model)
        mean, std = config["mean"], config["std"]
        if entry is not None and entry.mean is not None and entry.std is not None:
            mean, std = entry.mean, entry.std
        self._mean, self._std = np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)
        self._patch_mean = entry is not None and entry.patch_mean
        self.input_px = int(config["input_size"][-1])
        self.mpp = entry.mpp if entry else None
        stated = getattr(self._model, "pretrained_cfg", {}).get("license") or ""
        self.licence = entry.licence if entry else str(stated)
        self.citation = entry.citation if entry else ""
        self.n_features = self._probe()
        self.digest = _digest(self._model, mean, std, self.input_px, self._patch_mean)

    def embed(self, patches: np.ndarray) -> np.ndarray:
        """Return float32 ``(n_patches, n_features)`` of uint8 RGB ``(n_patches, input_px, input_px, 3)``."""
        check_patches(patches, self.input_px)
        if len(patches) == 0:
            return np.empty((0, self.n_features), dtype=np.float32)
        return self._forward(patches).float().cpu().numpy()

    def _forward(self, patches: np.ndarray) -> "torch.Tensor":
        import torch

        images = torch.from_numpy((patches.astype(np.float32) / 255 - self._mean) / self._std)
        with torch.inference_mode():
            found = self._model(images.permute(0, 3, 1, 2).contiguous().to(self.device))
            if self._patch_mean and found.ndim == 3:
                # tokens between the class token and the patches are registers, which hold no place in the image
                first_patch = getattr(self._model, "num_prefix_tokens", 1)
                found = torch.cat([found[:, 0], found[:, first_patch:].mean(dim=1)], dim=1)
        return found

    def _probe(self) -> int:
        found = self._forward(np.full((1, self.input_px, self.input_px, 3), 255, dtype=np.uint8))
        if found.ndim != 2:
            raise ValueError(
                f"{self.name} returns shape {tuple(found.shape)} for one patch; an encoder returns (1, n_features). "
                "This model has no pooled features: choose another, or export it with pooling to ONNX."
            )
        return int(found.shape[1])


def _import_timm(name: str) -> Any:
    purpose = f"Encoder {name}"
    try:
        # torchvision first: timm imports it, and its own error says nothing of timm
        require("torchvision", extra="timm", purpose=purpose)
        timm = require("timm", extra="timm", purpose=purpose)
    except RuntimeError as error:  # torchvision built for another PyTorch does not find its operators
        raise ImportError(
            f"{purpose} needs a torchvision that fits the installed PyTorch; this one does not load ({error}). "
            "Install both from the same source (the CPU build of torch with the CPU build of torchvision), or use "
            "'onnx:PATH' or 'he_texture'."
        ) from error
    require("timm.data", extra="timm", purpose=purpose)
    return timm


def _build(timm: Any, name: str, entry: KnownEncoder | None, pretrained: bool, seed: int) -> Any:
    import torch

    kind, _, model_name = name.partition(":")
    arguments = _resolved(timm, entry.arguments if entry else {})
    if not (entry is not None and entry.patch_mean):
        arguments["num_classes"] = 0
    try:
        with torch.random.fork_rng(devices=[]):  # random weights must neither depend on nor move the caller's state
            torch.manual_seed(seed)
            return timm.create_model(name if kind == "hf-hub" else model_name, pretrained=pretrained, **arguments)
    except Exception as error:
        # "from None": the chained error of a download shows its request, and with it the token
        raise _explained(timm, name, entry, error) from None


def _resolved(timm: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace names of layer classes by the classes; the registry is data and imports nothing."""
    import torch

    layers = {"SwiGLUPacked": getattr(timm.layers, "SwiGLUPacked", None), "SiLU": torch.nn.SiLU}
    return {key: layers.get(value, value) if isinstance(value, str) else value for key, value in arguments.items()}


def _explained(timm: Any, name: str, entry: KnownEncoder | None, error: Exception) -> Exception:
    kind, _, model_name = name.partition(":")
    said = without_tokens(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    text = f"{type(error).__name__} {error}".lower()
    if kind == "hf-hub" and any(word in text for word in _REFUSED):
        return PermissionError(
            f"{name} is gated, and access was refused ({said}). Accept its licence"
            f"{f' ({entry.licence})' if entry else ''} on https://huggingface.co/{model_name} while logged in, make a "
            "read token in your account's settings, and set it as HF_TOKEN (or run 'hf auth login'). Until then use "
            "'he_texture' or 'onnx:PATH'."
        )
    if kind == "timm" and not timm.is_model(model_name.partition(".")[0]):
        close = close_matches(model_name, timm.list_models(), n=4)
        meant = f" Close to it: {', '.join(close)}." if close else ""
        return ValueError(f"timm has no model {model_name!r}.{meant} timm.list_models() lists them all.")
    if isinstance(error, TypeError | ValueError | RuntimeError | NotImplementedError):
        return ValueError(f"timm could not build {name} ({said}).")
    return ConnectionError(
        f"The weights of {name} could not be loaded ({said}). Check the name and the network, or fetch them once where "
        "there is one (they are then cached); 'he_texture' and 'onnx:PATH' need no network."
    )


def without_tokens(text: str) -> str:
    """Return text with the user's access tokens replaced by asterisks."""
    for variable in _TOKENS:
        token = os.environ.get(variable, "").strip()
        if token:
            text = text.replace(token, "***")
    return re.sub(r"hf_[A-Za-z0-9]{8,}|(?<=[Bb]earer )\S+", "***", text)


def _digest(model: "torch.nn.Module", mean: Any, std: Any, input_px: int, patch_mean: bool) -> str:
    """Hash all weights and the pixel normalisation."""
    told = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        told.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        told.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    settings = {"mean": list(mean), "std": list(std), "input_px": input_px, "patch_mean": patch_mean}
    told.update(json.dumps(settings, sort_keys=True).encode())
    return told.hexdigest()
