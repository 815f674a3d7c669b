"""What must hold on a GPU. The same bodies run on the CPU, where they show that the tests themselves are sound.

A seed fixes initial weights, masks, negatives and dropout on every device, since all are drawn on the CPU. Sums do not
come out alike to the last bit: cuSPARSE adds in an order that it does not promise to keep. So what is asked on a GPU is
agreement, with the CPU and with a second run; bit for bit is asked of the CPU alone.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from anndata import AnnData

from histoquilt.datasets import paired_study, toy_section
from histoquilt.gr import knn_graph
from histoquilt.metrics import ari
from histoquilt.models import MclSTExp, MclSTExpConfig, SpaHGC, SpaHGCConfig, SpaMask, SpaMaskConfig, load
from histoquilt.nn import MaskedGraphAutoencoder, TileDraws, TileGraph
from histoquilt.tl import spatial_domains

N_DOMAINS = 4
QUICK = SpaMaskConfig(n_hidden=64, n_latent=32, n_pcs=50, max_epochs=40)
EXPRESSION = {
    "mclstexp": (MclSTExp, MclSTExpConfig(n_latent=32, max_epochs=3, k=(5, 20))),
    "spahgc": (SpaHGC, SpaHGCConfig(n_hidden=16, max_epochs=4, check_every=2)),
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    return request.param


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    return toy_section(n_spots=600, n_genes=150, n_domains=N_DOMAINS, seed=2)


def domains(tissue: AnnData, device: str, config: SpaMaskConfig, seed: int = 0) -> tuple[AnnData, SpaMask]:
    adata, model = tissue.copy(), SpaMask(config)
    spatial_domains(adata, N_DOMAINS, model=model, seed=seed, device=device, progress=False)
    return adata, model


@pytest.mark.parametrize("tile_spots", [1024, 128], ids=["one piece", "tiles"])
def test_domains_are_those_of_the_cpu(tissue, device, tile_spots, tmp_path):
    config = replace(QUICK, tile_spots=tile_spots)
    found, model = domains(tissue, device, config)
    here, _ = domains(tissue, "cpu", config)
    assert model.training_facts["device"].startswith(device)
    assert (model.training_facts["tiles"] > 1) == (tile_spots == 128)
    assert ari(found.obs["domain"], here.obs["domain"]) > 0.9
    again, _ = domains(tissue, device, config)
    if device == "cpu":
        assert np.array_equal(found.obsm["X_domains"], again.obsm["X_domains"])
    assert ari(found.obs["domain"], again.obs["domain"]) > 0.95

    model.save(tmp_path / "model")
    for elsewhere in {"cpu", device}:
        loaded = load(tmp_path / "model", device=elsewhere)
        np.testing.assert_allclose(loaded.embed(tissue), model.embed(tissue), atol=1e-3)


def one_step(tissue: AnnData, device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and a gradient of one training step, which depend on what is masked, hidden, dropped and drawn."""
    adata = tissue.copy()
    knn_graph(adata, n_neighbors=6)
    graph = TileGraph.whole(adata.obsp["spatial_connectivities"], device=device)
    x = torch.randn(adata.n_obs, 40, generator=torch.Generator().manual_seed(3)).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MaskedGraphAutoencoder(40, 64, 32, dtype=dtype).to(device)
    losses = network(x, graph, TileDraws(0, 0))
    (losses.feature + losses.edge).backward()
    gradient = network.encoder.get_parameter(next(iter(dict(network.encoder.named_parameters())))).grad
    return torch.stack([losses.feature, losses.edge]).detach().cpu(), gradient.cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_masks_negatives_and_dropout_are_those_of_the_cpu(tissue, device, dtype):
    (losses, gradient), (expected, slope) = one_step(tissue, device, dtype), one_step(tissue, "cpu", dtype)
    # another mask or another negative would move the losses by some percent
    tolerance = 1e-4 if dtype == torch.float32 else 2e-3
    torch.testing.assert_close(losses, expected, rtol=tolerance, atol=0)
    assert (gradient - slope).norm() < 10 * tolerance * slope.norm()


@pytest.mark.parametrize("name", EXPRESSION)
def test_predictions_are_those_of_the_cpu(device, name, tmp_path):
    kind, config = EXPRESSION[name]
    sections = paired_study(n_sections=4, n_spots=80, n_genes=20, kind="pairing")
    held_out, layer = sections.pop("s4"), f"predicted_{name}"
    model = kind(config).fit(sections, use_rep="X_image", device=device)
    assert model.training_facts["device"].startswith(device)
    found = model.predict(held_out).layers[layer]
    here = kind(config).fit(sections, use_rep="X_image", device="cpu").predict(held_out).layers[layer]
    assert np.corrcoef(found.ravel(), here.ravel())[0, 1] > 0.99
    model.save(tmp_path / "model")
    for elsewhere in {"cpu", device}:
        again = load(tmp_path / "model", device=elsewhere).predict(held_out).layers[layer]
        np.testing.assert_allclose(again, found, atol=1e-3)
