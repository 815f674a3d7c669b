"""The encoder ``onnx:PATH``: any feature extractor in an ONNX file."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from histoquilt.im.encoders._check_patches import check_patches
from histoquilt.im.encoders._onnx_runtimes import Port, choose_runtime, load
from histoquilt.im.encoders._sidecar import Sidecar, read_sidecar
from histoquilt.runtime import threads_to_use

_USUAL_PX = 224


class OnnxEncoder:
    """A feature extractor in an ONNX file: float32 ``(n, 3, height, width)`` in, ``(n, n_features)`` out.

    The side of the patches is read from the model. Pixel normalisation, resolution and licence come from
    ``<file>.json`` next to it (keys ``mean``, ``std``, ``scale``, ``mpp``, ``licence``, ``citation``, ``input_px``,
    ``output``); without that file pixels are only scaled to 0 to 1.

    Parameters
    ----------
    path
        Path of the ``.onnx`` file.
    runtime
        ``"onnxruntime"`` or ``"openvino"``; by default the first that is installed. Their results agree to 1e-5, and
        the digest does not depend on the runtime.
    threads, name
        Number of threads and name of the encoder; by default :func:`threads_to_use` and ``onnx:<path>``.
    device
        ``"auto"`` and ``"cuda"`` use a GPU if onnxruntime's GPU build finds one; anything else is the CPU.

    Raises
    ------
    FileNotFoundError, ImportError
        There is no such file, or no runtime is installed.
    ValueError
        The file is not an ONNX model, does not take colour images, or does not return one row of features per patch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        runtime: str | None = None,
        threads: int | None = None,
        device: str = "auto",
        name: str | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            beside = sorted(file.name for file in self.path.parent.glob("*.onnx")) if self.path.parent.is_dir() else []
            found = f"there are {', '.join(beside[:5])}" if beside else "no .onnx file is there"
            raise FileNotFoundError(f"No ONNX model at {self.path} (in {self.path.parent}: {found}).")
        sidecar = read_sidecar(self.path)
        self._model = load(self.path, choose_runtime(runtime), threads or threads_to_use(), str(device))
        self.runtime, self.device = self._model.name, self._model.device
        self.name = name or f"onnx:{path}"
        self.mpp, self.licence, self.citation = sidecar.mpp, sidecar.licence, sidecar.citation
        self.input_px, self._batch = _input_size(self._model.inputs, sidecar, self.path)
        self._output = _which_output(self._model.outputs, sidecar, self.path)
        self._gain = (sidecar.scale / np.array(sidecar.std)).astype(np.float32)
        self._shift = (-np.array(sidecar.mean) / np.array(sidecar.std)).astype(np.float32)
        self.n_features = self._probe()
        self.digest = _digest(self.path, sidecar, self.input_px)

    def embed(self, patches: np.ndarray) -> np.ndarray:
        """Return float32 ``(n_patches, n_features)`` of uint8 RGB ``(n_patches, input_px, input_px, 3)``."""
        check_patches(patches, self.input_px)
        # a fixed batch size, when the model has one: filled up with repeats of the first patch
        step = self._batch or max(1, len(patches))
        rows = [np.empty((0, self.n_features), dtype=np.float32)]
        for start in range(0, len(patches), step):
            some = patches[start : start + step]
            missing = (self._batch or len(some)) - len(some)
            filled = np.concatenate([some, np.repeat(some[:1], missing, axis=0)]) if missing else some
            rows.append(self._run(filled)[: len(some)].astype(np.float32, copy=False))
        return np.concatenate(rows)

    def _run(self, patches: np.ndarray) -> np.ndarray:
        images = patches.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        images *= self._gain[:, None, None]
        images += self._shift[:, None, None]
        return self._model.run(images, self._output)

    def _probe(self) -> int:
        """Run a few white patches, and return the width of the output."""
        n = self._batch or 2
        try:
            found = self._run(np.full((n, self.input_px, self.input_px, 3), 255, dtype=np.uint8))
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{self.path} fails on patches of {self.input_px} px ({first_line}). If it wants another size, state "
                f"input_px in {self.path.name}.json."
            ) from error
        if found.ndim != 2 or len(found) != n:
            raise ValueError(
                f"{self.path} returns shape {found.shape} for {n} patches; an encoder returns one row of features for "
                f"each, ({n}, n_features). Export the model with pooling and without its head, or name another of its "
                f"outputs ({', '.join(port.name for port in self._model.outputs)}) as output in {self.path.name}.json."
            )
        return found.shape[1]


def _input_size(inputs: list[Port], sidecar: Sidecar, path: Path) -> tuple[int, int | None]:
    """Return the side of the patches in pixels, and the batch size if the model fixes it."""
    expected = "an encoder takes one float32 input (n, 3, height, width)"
    if len(inputs) != 1:
        raise ValueError(f"{path} has {len(inputs)} inputs ({', '.join(p.name for p in inputs)}); {expected}.")
    port = inputs[0]
    shape = ", ".join("?" if size is None else str(size) for size in port.shape)
    if port.dtype != "float32" or len(port.shape) != 4 or port.shape[1] not in (3, None):
        hint = " It looks channels-last: export it channels-first." if port.shape[-1:] == (3,) else ""
        raise ValueError(f"{path}: input {port.name!r} is {port.dtype} ({shape}); {expected}.{hint}")
    sides = {size for size in port.shape[2:] if size is not None}
    if len(sides) > 1:
        raise ValueError(f"{path}: input {port.name!r} is ({shape}); patches are square.")
    side = sides.pop() if sides else int(sidecar.input_px or _USUAL_PX)
    if sidecar.input_px not in (None, side):
        raise ValueError(f"{path.name}.json says input_px {sidecar.input_px}, but the model takes {side}.")
    return side, port.shape[0]


def _which_output(outputs: list[Port], sidecar: Sidecar, path: Path) -> int:
    if sidecar.output is None:
        return 0
    names = [port.name for port in outputs]
    if sidecar.output not in names:
        raise ValueError(f"{path.name}.json names output {sidecar.output!r}; the model has {', '.join(names)}.")
    return names.index(sidecar.output)


def _digest(path: Path, sidecar: Sidecar, input_px: int) -> str:
    """Hash the weights and the pixel normalisation, but neither runtime nor file name."""
    told = hashlib.sha256()
    # weights above 2 GB lie in a second file, which exporters name so
    for file in (path, path.with_name(path.name + ".data")):
        if file.is_file():
            with file.open("rb") as handle:
                told.update(hashlib.file_digest(handle, "sha256").digest())
    settings = {key: value for key, value in asdict(sidecar).items() if key not in ("licence", "citation", "mpp")}
    told.update(json.dumps({**settings, "input_px": input_px}, sort_keys=True).encode())
    return told.hexdigest()
