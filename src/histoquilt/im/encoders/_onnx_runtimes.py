"""The two runtimes of ONNX files behind one interface. Both compute in float32, on a stated number of threads.

onnxruntime also runs on an NVIDIA GPU, if its GPU build (onnxruntime-gpu) is installed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histoquilt._base import is_installed, require

_CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Port:
    """An input or output of a model: its name, element type, and shape with ``None`` for free sizes."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def choose_runtime(asked: str | None = None) -> str:
    """Return the runtime asked for, else onnxruntime, else the one that is installed.

    In float32 the two take the same time within 15 % (MobileNet v2: 8.4 and 9.7 ms per patch; DenseNet121: 63 and 56,
    one thread). OpenVINO's default is faster, since it computes in bfloat16, which moves embeddings by 0.5 %; not used.
    """
    if asked is not None:
        return asked
    return "openvino" if is_installed("openvino") and not is_installed("onnxruntime") else "onnxruntime"


def load(path: Path, runtime: str, threads: int, device: str) -> "_OnnxRuntime | _OpenVino":
    """Load an ONNX file; on the CPU if the runtime cannot use the device."""
    kind: type[_OnnxRuntime] | type[_OpenVino] = _OpenVino if runtime == "openvino" else _OnnxRuntime
    module = require(runtime, extra="openvino" if runtime == "openvino" else "onnx", purpose=f"Encoder {path.name}")
    try:
        return kind(module, path, threads, device)
    except Exception as error:  # runtimes raise exception classes of their own
        first_line = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path} could not be read as an ONNX model by {runtime} ({first_line}). Expected is a feature extractor "
            "exported to ONNX; check that the download is complete and not a Git LFS pointer."
        ) from error


class _OnnxRuntime:
    name = "onnxruntime"

    def __init__(self, onnxruntime: Any, path: Path, threads: int, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers: list[Any] = ["CPUExecutionProvider"]
        number = int(device.partition(":")[2] or 0)
        if device.startswith(("auto", "cuda")) and _CUDA in onnxruntime.get_available_providers():
            # TF32, its default, rounds to 10 bits: embeddings would differ from those of the CPU under one digest
            providers.insert(0, (_CUDA, {"device_id": number, "use_tf32": 0}))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        # a GPU build without a driver falls back to the CPU
        self.device = f"cuda:{number}" if _CUDA in self._session.get_providers() else "cpu"
        self.inputs = [self._port(port) for port in self._session.get_inputs()]
        self.outputs = [self._port(port) for port in self._session.get_outputs()]

    @staticmethod
    def _port(port: Any) -> Port:
        shape = tuple(size if isinstance(size, int) else None for size in port.shape)
        return Port(port.name, "float32" if port.type == "tensor(float)" else port.type, shape)

    def run(self, images: np.ndarray, output: int) -> np.ndarray:
        return self._session.run([self.outputs[output].name], {self.inputs[0].name: images})[0]


class _OpenVino:
    name, device = "openvino", "cpu"

    def __init__(self, openvino: Any, path: Path, threads: int, device: str) -> None:
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        model = core.read_model(str(path))
        self.inputs = [self._port(port) for port in model.inputs]
        self.outputs = [self._port(port) for port in model.outputs]
        self._model = core.compile_model(model, "CPU", settings)

    @staticmethod
    def _port(port: Any) -> Port:
        rank = port.partial_shape.rank
        sizes = port.partial_shape if rank.is_static else ()
        shape = tuple(size.get_length() if size.is_static else None for size in sizes)
        kind = port.element_type.get_type_name()
        return Port(port.any_name, "float32" if kind == "f32" else kind, shape)

    def run(self, images: np.ndarray, output: int) -> np.ndarray:
        return np.array(self._model(images)[output])
