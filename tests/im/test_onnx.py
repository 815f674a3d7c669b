import json

import numpy as np
import pytest

from histoquilt._base._protocols import PatchEncoder
from histoquilt.im.encoders import _onnx_runtimes as runtimes
from histoquilt.im.encoders._encoders import get_encoder
from histoquilt.im.encoders._onnx import OnnxEncoder
from histoquilt.runtime._threads import use_threads

FLOAT = 1


def describe(path, **keys):
    path.with_name(path.name + ".json").write_text(json.dumps(keys))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_mean_colour_by_hand(onnx_model, eights, runtime):
    pytest.importorskip(runtime)
    encoder = OnnxEncoder(onnx_model(), runtime=runtime, threads=1)
    assert isinstance(encoder, PatchEncoder)
    assert (encoder.runtime, encoder.n_features, encoder.input_px, encoder.mpp) == (runtime, 3, 8, None)
    found = encoder.embed(eights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, eights.mean(axis=(1, 2)) / 255, atol=1e-6)


def test_sidecar_says_how_pixels_are_wanted(onnx_model, eights):
    path = onnx_model()
    bare = OnnxEncoder(path)
    describe(path, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1], mpp=0.5, licence="MIT", citation="Us 2025")
    encoder = OnnxEncoder(path)
    expected = (eights.mean(axis=(1, 2)) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    np.testing.assert_allclose(encoder.embed(eights), expected, atol=1e-5)
    assert (encoder.mpp, encoder.licence, encoder.citation) == (0.5, "MIT", "Us 2025")
    assert encoder.digest != bare.digest


def test_scale_replaces_the_division_by_255(onnx_model, eights):
    path = onnx_model()
    describe(path, scale=1)
    np.testing.assert_allclose(OnnxEncoder(path).embed(eights), eights.mean(axis=(1, 2)), rtol=1e-5)


def test_digest_is_of_the_content_alone(onnx_model):
    first, copy = onnx_model(), onnx_model(name="copy")
    assert OnnxEncoder(first).digest == OnnxEncoder(copy).digest
    other = onnx_model(nodes=[("GlobalMaxPool", ["image"], ["p"]), ("Flatten", ["p"], ["embedding"])], name="max")
    assert OnnxEncoder(other).digest != OnnxEncoder(first).digest


def test_digest_does_not_depend_on_the_runtime(onnx_model):
    pytest.importorskip("openvino")
    path = str(onnx_model())
    assert get_encoder(f"openvino:{path}").digest == get_encoder(f"onnx:{path}").digest
    assert get_encoder(f"openvino:{path}").name == f"openvino:{path}"
    assert get_encoder(f"onnx:{path}").name == f"onnx:{path}"


def test_fixed_batch_is_filled_up(onnx_model, eights):
    path = onnx_model(inputs=[("image", (2, 3, 8, 8), FLOAT)], outputs=[("embedding", (2, 3), FLOAT)])
    found = OnnxEncoder(path).embed(eights)  # five patches, two at a time
    np.testing.assert_allclose(found, eights.mean(axis=(1, 2)) / 255, atol=1e-6)


def test_no_patches(onnx_model, eights):
    assert OnnxEncoder(onnx_model()).embed(eights[:0]).shape == (0, 3)


def test_free_size_is_taken_from_the_sidecar(onnx_model):
    path = onnx_model(inputs=[("image", ("n", 3, "h", "w"), FLOAT)])
    assert OnnxEncoder(path).input_px == 224
    describe(path, input_px=16)
    assert OnnxEncoder(path).input_px == 16


def test_another_output_by_name(onnx_model, eights):
    path = onnx_model(outputs=[("pooled", ("n", 3, 1, 1), FLOAT), ("embedding", ("n", 3), FLOAT)])
    with pytest.raises(ValueError, match=r"returns shape \(2, 3, 1, 1\).*pooled, embedding"):
        OnnxEncoder(path)
    describe(path, output="embedding")
    assert OnnxEncoder(path).embed(eights).shape == (5, 3)
    describe(path, output="features")
    with pytest.raises(ValueError, match="names output 'features'; the model has pooled, embedding"):
        OnnxEncoder(path)


def test_missing_file_names_what_is_there(onnx_model, tmp_path):
    onnx_model()
    with pytest.raises(FileNotFoundError, match=r"there are net\.onnx"):
        OnnxEncoder(tmp_path / "other.onnx")
    with pytest.raises(FileNotFoundError, match=r"no \.onnx file is there"):
        get_encoder("onnx:nowhere/net.onnx")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_not_a_model(tmp_path, runtime):
    pytest.importorskip(runtime)
    path = tmp_path / "pointer.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(ValueError, match=r"could not be read as an ONNX model.*Git LFS pointer"):
        OnnxEncoder(path, runtime=runtime)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([("image", ("n", 192), FLOAT)], r"float32 \(\?, 192\); an encoder takes"),
        ([("image", ("n", 8, 8, 3), FLOAT)], "channels-last"),
        ([("image", ("n", 3, 8, 12), FLOAT)], "patches are square"),
        ([("image", ("n", 3, 8, 8), FLOAT), ("mask", ("n",), FLOAT)], "has 2 inputs"),
    ],
)
def test_wrong_input(onnx_model, inputs, words):
    nodes = [("Identity", ["image"], ["embedding"])]
    with pytest.raises(ValueError, match=words):
        OnnxEncoder(onnx_model(nodes=nodes, inputs=inputs, outputs=[("embedding", inputs[0][1], FLOAT)]))


def test_output_that_is_no_row_a_patch(onnx_model):
    path = onnx_model(nodes=[("Identity", ["image"], ["embedding"])], outputs=[("embedding", ("n", 3, 8, 8), FLOAT)])
    with pytest.raises(ValueError, match=r"returns shape \(2, 3, 8, 8\).*with pooling and without its head"):
        OnnxEncoder(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object.*found list"),
        ('{"license": "MIT"}', "any of mean, std.*found license"),
        ('{"mean": [1, 2]}', "three numbers"),
        ('{"std": [1, 0, 1]}', "std must be positive"),
        ('{"mpp": -1}', "mpp must be a positive number"),
        ('{"input_px": 16}', "input_px 16, but the model takes 8"),
    ],
)
def test_wrong_sidecar(onnx_model, text, words):
    path = onnx_model()
    path.with_name(path.name + ".json").write_text(text)
    with pytest.raises(ValueError, match=words):
        OnnxEncoder(path)


def test_runtime_is_what_is_installed(monkeypatch):
    assert runtimes.choose_runtime("openvino") == "openvino"
    monkeypatch.setattr(runtimes, "is_installed", {"onnxruntime": True, "openvino": True}.get)
    assert runtimes.choose_runtime() == "onnxruntime"
    monkeypatch.setattr(runtimes, "is_installed", {"onnxruntime": False, "openvino": True}.get)
    assert runtimes.choose_runtime() == "openvino"


class GpuBuild:
    """onnxruntime as its GPU build is, with or without a driver; sessions say what they were asked for."""

    def __init__(self, onnxruntime, *, has_driver: bool):
        self.SessionOptions, self._real, self._has_driver = onnxruntime.SessionOptions, onnxruntime, has_driver
        self.asked: list = []
        self.threads = 0

    def get_available_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path, options, providers):  # noqa: N802
        self.asked, self.threads = providers, options.intra_op_num_threads
        session = self._real.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        if self._has_driver and len(providers) > 1:
            session.get_providers = self.get_available_providers
        return session


@pytest.mark.parametrize(
    ("device", "has_driver", "asked", "found"),
    [("auto", True, 0, "cuda:0"), ("cuda:1", True, 1, "cuda:1"), ("cpu", True, None, "cpu"), ("auto", False, 0, "cpu"),
     ("mps", True, None, "cpu")],
)  # fmt: skip
def test_a_gpu_is_taken_where_onnxruntime_has_one(onnx_model, monkeypatch, device, has_driver, asked, found):
    build = GpuBuild(pytest.importorskip("onnxruntime"), has_driver=has_driver)
    monkeypatch.setattr(runtimes, "require", lambda *_, **__: build)
    path = onnx_model()
    assert get_encoder(f"onnx:{path}", device=device).device == found
    if asked is None:
        assert build.asked == ["CPUExecutionProvider"]
    else:
        assert build.asked[0] == ("CUDAExecutionProvider", {"device_id": asked, "use_tf32": 0})


def test_threads_are_those_of_the_run(onnx_model, monkeypatch):
    build = GpuBuild(pytest.importorskip("onnxruntime"), has_driver=False)
    monkeypatch.setattr(runtimes, "require", lambda *_, **__: build)
    with use_threads(1):
        OnnxEncoder(onnx_model(), runtime="onnxruntime")
    assert build.threads == 1


def test_openvino_computes_on_the_cpu(onnx_model):
    pytest.importorskip("openvino")
    assert get_encoder(f"openvino:{onnx_model()}", device="cuda").device == "cpu"


def test_without_a_runtime_the_extra_is_named(onnx_model, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"Encoder net.onnx needs onnxruntime.*histoquilt\[onnx\]"):
        OnnxEncoder(onnx_model(), runtime="onnxruntime")


@pytest.mark.real_data
def test_real_network_on_both_runtimes(data_dir):
    path = data_dir.parent / "weights" / "mobilenet_imagenet.onnx"
    if not path.is_file():
        pytest.skip("weights/mobilenet_imagenet.onnx is absent beside HISTOQUILT_DATA")
    encoder = get_encoder(f"onnx:{path}")
    assert (encoder.n_features, encoder.input_px) == (1280, 224)
    patches = np.random.default_rng(0).integers(0, 256, (6, 56, 56, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    found = encoder.embed(patches)
    np.testing.assert_array_equal(found, np.concatenate([encoder.embed(patches[:1]), encoder.embed(patches[1:])]))
    assert found.min() >= 0
    assert found.std(axis=0).max() > 0.1
    pytest.importorskip("openvino")
    other = get_encoder(f"openvino:{path}").embed(patches)
    assert np.linalg.norm(found - other) < 1e-3 * np.linalg.norm(found)
