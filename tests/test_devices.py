"""Nothing is left behind on the CPU when a network computes elsewhere, shown without a second device.

Tensors on the device "meta" are played by wrappers around tensors of the CPU that keep their values. As on a GPU, they
refuse to be mixed with tensors of the CPU and to become numpy arrays.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from histoquilt.datasets import paired_study, toy_section
from histoquilt.models import (
    MclSTExp,
    MclSTExpConfig,
    RidgeOnEmbedding,
    SpaHGC,
    SpaHGCConfig,
    SpaMask,
    SpaMaskConfig,
    load,
)
from histoquilt.nn.graph import _edges, _sparse
from histoquilt.runtime._device import resolve_device

ELSEWHERE = torch.device("meta")
# a GPU takes numbers of rows from the CPU, and copies from there
MAY_MIX = ("index.Tensor", "index_put", "_index_put_impl_", "copy_")


class Elsewhere(torch.Tensor):
    """A tensor of the other device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Elsewhere":
        sparse = inner.layout != torch.strided
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=None if sparse else inner.stride(), dtype=inner.dtype, device=ELSEWHERE
        )
        wrapper.inner = inner
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """Compute on the CPU what the other device would, or refuse as it would."""
    flat = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    there = any(isinstance(one, Elsewhere) for one in flat)
    name = func.__name__
    if there and not name.startswith(MAY_MIX):
        here = [tuple(one.shape) for one in flat if not isinstance(one, Elsewhere) and one.dim() > 0]
        if here:
            raise RuntimeError(f"{name}: tensors of two devices; on the CPU: {here}")
    target = kwargs.get("device")
    if name.startswith("copy_") and not isinstance(args[0], Elsewhere):
        there = False
    inner_args, inner_kwargs = tree_map(lambda one: one.inner if isinstance(one, Elsewhere) else one, (args, kwargs))
    if target is not None:
        there = torch.device(target) == ELSEWHERE
        inner_kwargs["device"] = torch.device("cpu")
    out = func(*inner_args, **inner_kwargs)
    if not there:
        return out
    wrapped = tree_map(lambda one: Elsewhere(one) if isinstance(one, torch.Tensor) else one, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


class TwoDevices(TorchDispatchMode):
    """Sends what is asked of the other device to the wrappers."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    real = _sparse.csr_tensor

    def csr_tensor(*parts):
        there = {isinstance(one, Elsewhere) for one in parts[:3]}
        assert len(there) == 1, "parts of a sparse matrix on two devices"
        made = real(*(one.inner if isinstance(one, Elsewhere) else one for one in parts))
        return Elsewhere(made) if there.pop() else made

    for module in (_sparse, _edges):
        monkeypatch.setattr(module, "csr_tensor", csr_tensor)
    monkeypatch.setattr(torch, "autocast", lambda **_: contextlib.nullcontext())  # knows no such device
    with TwoDevices():
        yield ELSEWHERE


def test_the_other_device_refuses_what_a_gpu_refuses(elsewhere):
    x = torch.ones(3).to(elsewhere)
    assert x.device == elsewhere
    assert (2 * x).cpu().tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="tensors of two devices"):
        x + torch.ones(3)
    with pytest.raises(RuntimeError, match="numpy"):
        x.numpy()


def study():
    sections = paired_study(n_sections=3, n_spots=40, n_genes=12, kind="pairing")
    for adata in sections.values():
        shade = adata.obsm["X_image"][:, :3]
        pixels = np.repeat(128 + 20 * shade, 16 * 16, axis=0) + np.random.default_rng(0).normal(size=(40 * 16 * 16, 3))
        adata.obsm["X_pixels"] = pixels.clip(0, 255).round().reshape(40, -1).astype(np.float32)
    return sections, sections.pop("s3")


SMALL = SpaHGCConfig(n_hidden=8, n_layers=1, n_heads=2, max_epochs=1, check_every=1)
MODELS = {
    "mclstexp": (MclSTExp, MclSTExpConfig(n_latent=8, n_blocks=1, max_epochs=1, check_every=1, k=(5,), batch_size=10)),
    "mclstexp, no graph": (MclSTExp, MclSTExpConfig(n_latent=8, n_blocks=0, max_epochs=1, check_every=1, k=(5,))),
    "mclstexp on pixels": (MclSTExp, MclSTExpConfig.trainable(max_epochs=1)),
    "spahgc": (SpaHGC, SMALL),
    "spahgc, masked": (SpaHGC, replace(SMALL, regress_on="masked")),
}


@pytest.mark.filterwarnings("ignore:.*look unlike the tissue")
@pytest.mark.parametrize("name", MODELS)
def test_expression_models_compute_where_they_are_told(name, elsewhere, tmp_path):
    kind, config = MODELS[name]
    sections, held_out = study()
    rep = "X_pixels" if name.endswith("pixels") else "X_image"
    layer = f"predicted_{kind.method}"
    here = kind(config).fit(sections, use_rep=rep, device="cpu").predict(held_out).layers[layer]
    model = kind(config).fit(sections, use_rep=rep, device=elsewhere)
    assert model.training_facts["device"] == "meta"
    np.testing.assert_allclose(model.predict(held_out).layers[layer], here, atol=1e-5)
    model.save(tmp_path / "model")
    for device in ("cpu", elsewhere):
        again = load(tmp_path / "model", device=device)
        assert again.device == torch.device(device)
        np.testing.assert_allclose(again.predict(held_out).layers[layer], here, atol=1e-5)


@pytest.mark.parametrize("tile_spots", [1024, 64], ids=["one piece", "tiles"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_spamask_computes_where_it_is_told(tile_spots, precision, elsewhere, tmp_path):
    adata = toy_section(n_spots=200, n_genes=40, n_domains=3, seed=0)
    config = SpaMaskConfig(n_hidden=16, n_latent=8, n_pcs=10, max_epochs=3, tile_spots=tile_spots, precision=precision)
    here = SpaMask(config).fit(adata, device="cpu", progress=False).embed(adata)
    model = SpaMask(config).fit(adata, device=elsewhere, progress=False)
    assert (model.training_facts["device"], model.training_facts["precision"]) == ("meta", precision)
    np.testing.assert_allclose(model.embed(adata), here, atol=1e-5)
    model.save(tmp_path / "model")
    for device in ("cpu", elsewhere):
        np.testing.assert_allclose(load(tmp_path / "model", device=device).embed(adata), here, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "sparse", "message"),
    [
        ("gpu", False, r"There is no device 'gpu'. Use device='auto', 'cpu'"),
        ("mps", True, r"device='mps' was asked for, but graph networks multiply sparse matrices.*Use device='auto'"),
        ("cuda:3", False, r"device='cuda:3' was asked for, but torch sees 2 CUDA device\(s\).*'cuda:1'"),
    ],
)
def test_a_device_that_will_not_do(device, sparse, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=message):
        resolve_device(device, sparse=sparse)


def test_the_last_device_will_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("model", [SpaMask(), MclSTExp(), SpaHGC()], ids=["spamask", "mclstexp", "spahgc"])
def test_graph_networks_are_refused_on_metal_before_any_work(model):
    with pytest.raises(ValueError, match="torch cannot do on Metal"):
        model.fit(toy_section() if isinstance(model, SpaMask) else study()[0], device="mps")


def test_models_without_a_network_compute_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    model = RidgeOnEmbedding().fit(study()[0], use_rep="X_image", device="mps")
    assert model.training_facts["device"] == "cpu"
