"""Factories of our encoders, by the part of the name before the colon; registered in ``histoquilt._base.ENCODERS``."""

from histoquilt._base import PatchEncoder
from histoquilt.im.encoders._he_texture import TextureEncoder
from histoquilt.im.encoders._onnx import OnnxEncoder
from histoquilt.im.encoders._timm import TimmEncoder


def he_texture(argument: str, *, device: str) -> PatchEncoder:
    """Return the built-in encoder, which computes on the CPU."""
    if argument:
        raise ValueError(f"The encoder 'he_texture' takes nothing after its name, got 'he_texture:{argument}'.")
    return TextureEncoder()


def onnx(argument: str, *, device: str) -> PatchEncoder:
    """Return the encoder in an ONNX file."""
    return OnnxEncoder(argument, device=device)


def openvino(argument: str, *, device: str) -> PatchEncoder:
    """Return the encoder in an ONNX file, computed by OpenVINO on the CPU."""
    return OnnxEncoder(argument, runtime="openvino", name=f"openvino:{argument}")


def timm(argument: str, *, device: str) -> PatchEncoder:
    """Return a model of the timm library."""
    return TimmEncoder(f"timm:{argument}", device=device)


def hf_hub(argument: str, *, device: str) -> PatchEncoder:
    """Return a model of the Hugging Face Hub."""
    return TimmEncoder(f"hf-hub:{argument}", device=device)
