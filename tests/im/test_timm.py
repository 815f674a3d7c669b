import logging
import traceback

import numpy as np
import pytest

from histoquilt._base._protocols import PatchEncoder
from histoquilt.im.encoders import _timm
from histoquilt.im.encoders._encoders import get_encoder
from histoquilt.im.encoders._known_encoders import KNOWN, NOT_TIMM
from histoquilt.im.encoders._timm import TimmEncoder, without_tokens

TOKEN = "hf_notARealTokenButLongEnough"


@pytest.fixture(scope="module")
def resnet(torchvision_operators):
    return TimmEncoder("timm:resnet18", pretrained=False, device="cpu")


@pytest.fixture
def patches(resnet):
    shape = (3, resnet.input_px, resnet.input_px, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_pooled_features(resnet, patches):
    known = KNOWN["timm:resnet18"]
    assert isinstance(resnet, PatchEncoder)
    assert (resnet.n_features, resnet.input_px, resnet.mpp) == (known.n_features, known.input_px, None)
    assert (resnet.licence, resnet.citation) == (known.licence, known.citation)
    found = resnet.embed(patches)
    assert found.shape == (3, 512)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, resnet.embed(patches))
    np.testing.assert_allclose(found[:1], resnet.embed(patches[:1]), rtol=1e-3, atol=1e-4)
    assert resnet.embed(patches[:0]).shape == (0, 512)


def test_normalised_as_the_model_says(resnet, patches):
    import torch

    images = torch.from_numpy(patches).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = resnet._model((images - mean[:, None, None]) / std[:, None, None])
    np.testing.assert_allclose(resnet.embed(patches), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_digest_is_of_the_weights_and_the_global_state_stays(resnet):
    import torch

    before = torch.random.get_rng_state()
    assert TimmEncoder("timm:resnet18", pretrained=False, device="cpu").digest == resnet.digest
    assert TimmEncoder("timm:resnet18", pretrained=False, device="cpu", seed=1).digest != resnet.digest
    assert torch.equal(before, torch.random.get_rng_state())


def test_patch_mean_leaves_registers_out(resnet):
    import torch

    class Tokens(torch.nn.Module):
        num_prefix_tokens = 3

        def forward(self, images):
            return torch.tensor([[[1.0], [50.0], [60.0], [2.0], [4.0]]]).expand(len(images), 5, 1)

    encoder = TimmEncoder.__new__(TimmEncoder)
    encoder._model, encoder._patch_mean, encoder.device = Tokens(), True, torch.device("cpu")
    encoder._mean, encoder._std = np.zeros(3, np.float32), np.ones(3, np.float32)
    found = encoder._forward(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    np.testing.assert_array_equal(found.numpy(), [[1.0, 3.0], [1.0, 3.0]])


def refuse(timm, monkeypatch, error):
    def create_model(*args, **kwargs):
        raise error

    monkeypatch.setattr(timm, "create_model", create_model)


@pytest.fixture
def timm(torchvision_operators):
    import timm

    return timm


def test_gated_model_says_how_to_get_access_and_no_token(timm, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    secret = OSError(f"401 Client Error. Cannot access gated repo (Authorization: Bearer {TOKEN})")
    refuse(timm, monkeypatch, secret)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(PermissionError, match=r"is gated.*its licence") as raised,
    ):
        get_encoder("hf-hub:MahmoodLab/UNI")
    message = str(raised.value)
    assert "https://huggingface.co/MahmoodLab/UNI" in message
    assert "HF_TOKEN" in message
    assert "CC-BY-NC-ND-4.0" in message
    shown = "".join(traceback.format_exception(raised.value))
    assert TOKEN not in shown + caplog.text


def test_no_network_is_not_called_gated(timm, monkeypatch):
    refuse(timm, monkeypatch, OSError("Temporary failure in name resolution"))
    with pytest.raises(ConnectionError, match=r"could not be loaded.*name resolution.*need no network"):
        get_encoder("hf-hub:paige-ai/Virchow2")


def test_unknown_model(timm):
    with pytest.raises(ValueError, match=r"no model 'resnet81'. Close to it: .*resnet.*timm.list_models"):
        TimmEncoder("timm:resnet81", pretrained=False)


def test_argument_that_does_not_fit(timm, monkeypatch):
    refuse(timm, monkeypatch, TypeError("unexpected keyword"))
    with pytest.raises(ValueError, match=r"could not build timm:resnet18.*unexpected keyword"):
        TimmEncoder("timm:resnet18", pretrained=False)


@pytest.mark.parametrize("name", NOT_TIMM)
def test_models_of_other_formats_are_explained(name):
    with pytest.raises(ValueError, match=r"cannot be built by timm.*'onnx:PATH'"):
        TimmEncoder(f"hf-hub:{name}")


def test_torchvision_of_another_torch_is_explained(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(_timm, "require", broken)
    with pytest.raises(ImportError, match=r"torchvision that fits the installed PyTorch.*nms does not exist"):
        TimmEncoder("timm:resnet18")


def test_without_timm_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=r"Encoder timm:resnet18 needs torchvision.*histoquilt\[timm\]"):
        TimmEncoder("timm:resnet18")


def test_layer_names_become_layers(timm):
    import torch

    found = _timm._resolved(timm, KNOWN["hf-hub:paige-ai/Virchow2"].arguments)
    assert found == {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}


@pytest.mark.parametrize("text", [f"token {TOKEN}", f"Authorization: Bearer {TOKEN}", "Bearer abcdef123"])
def test_tokens_are_blacked_out(text):
    found = without_tokens(text)
    assert TOKEN not in found
    assert "abcdef123" not in found
    assert "***" in found


def test_token_of_any_form_in_the_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "plainsecret")
    assert without_tokens("x plainsecret y") == "x *** y"
