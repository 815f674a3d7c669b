"""ONNX files written byte by byte (no exporter needed), and a torchvision that imports."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from histoquilt.im.encoders import _he_texture

FLOAT = 1
POOLED = [("GlobalAveragePool", ["image"], ["pooled"]), ("Flatten", ["pooled"], ["embedding"])]


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _value(name: str, shape: tuple[int | str, ...], kind: int) -> bytes:
    sizes = b"".join(_bytes(1, _number(1, size) if isinstance(size, int) else _bytes(2, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, sizes)))


def onnx_bytes(nodes: list, inputs: list, outputs: list) -> bytes:
    """Nodes are (operator, inputs, outputs); inputs and outputs (name, shape, element type)."""
    graph = _bytes(2, "graph")
    for operator, takes, gives in nodes:
        names = b"".join(_bytes(1, name) for name in takes) + b"".join(_bytes(2, name) for name in gives)
        graph += _bytes(1, names + _bytes(4, operator))
    graph += b"".join(_bytes(11, _value(*port)) for port in inputs)
    graph += b"".join(_bytes(12, _value(*port)) for port in outputs)
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13))


@pytest.fixture
def onnx_model(tmp_path) -> Callable[..., Path]:
    """Write an ONNX file; by default its embedding is the mean colour of an 8 px patch."""

    def write(
        nodes=POOLED, inputs=(("image", ("n", 3, 8, 8), FLOAT),), outputs=(("embedding", ("n", 3), FLOAT),), name="net"
    ) -> Path:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(onnx_bytes(list(nodes), list(inputs), list(outputs)))
        return path

    return write


@pytest.fixture
def eights() -> np.ndarray:
    """Five patches of 8 px."""
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _described_anew(patches_described_once, monkeypatch):
    """The encoder itself is tested here: patches are described each time."""
    monkeypatch.setattr(_he_texture, "_describe", _he_texture._describe.forgetful)
