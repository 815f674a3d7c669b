"""One training step of SpaMask at its published sizes: our CSR message passing beside PyTorch Geometric.

    pip install torch_geometric
    HISTOQUILT_DATA=... python benchmarks/step_time.py

The same network and losses (200 features, 512, 256; both branches, backward pass, clipping, Adam) on the 12-nearest-
neighbour graph of 151673, same threads, interleaved; the median of each and their ratio are printed. PyG runs
``GCNConv`` on ``edge_index``: normalisation cached for the full graph, computed anew for the graph with hidden edges,
as any implementation has to. A second row gives PyG a torch CSR adjacency with the normalised weights. PyG computes in
float32; ours trains as ``SpaMaskConfig()`` does on the machine at hand, in bfloat16 products where it has
instructions for them, and a last row shows what it takes without.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import anndata as ad
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from histoquilt.gr import knn_adjacency
from histoquilt.nn import (
    MaskedGraphAutoencoder,
    TileDraws,
    TileGraph,
    product_dtype,
    scaled_cosine_error,
)

N_FEATURES, N_HIDDEN, N_LATENT = 200, 512, 256
EDGE_WEIGHT = 2.0


class CachedGCNConv(GCNConv):
    """GCNConv that takes weights where they are given (the cached full graph) and normalises where they are not."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        self.normalize = edge_weight is None
        return super().forward(x, edge_index, edge_weight)


class PygSpaMask(nn.Module):
    """The same network written with PyTorch Geometric.

    ``as_csr``: hand every layer a torch CSR adjacency with normalised weights in place of ``edge_index``.
    """

    def __init__(self, *, as_csr: bool) -> None:
        super().__init__()
        self.as_csr = as_csr
        plain = {"normalize": False, "add_self_loops": False} if as_csr else {}
        layer = GCNConv if as_csr else CachedGCNConv
        self.first, self.second = layer(N_FEATURES, N_HIDDEN, **plain), layer(N_HIDDEN, N_LATENT, **plain)
        self.decoder = layer(N_LATENT, N_FEATURES, **plain)
        self.norms = nn.ModuleList([nn.BatchNorm1d(N_HIDDEN), nn.BatchNorm1d(N_LATENT)])
        self.activation = nn.PReLU()
        self.bridge = nn.Linear(N_LATENT, N_LATENT, bias=False)
        self.token = nn.Parameter(torch.zeros(N_FEATURES))
        self.scorer = nn.Sequential(nn.Linear(N_LATENT, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 1))

    def encode(self, x: Tensor, graph: tuple) -> Tensor:
        for layer, norm in zip((self.first, self.second), self.norms, strict=True):
            x = self.activation(norm(layer(x, *graph)))
        return x

    def forward(self, x: Tensor, graph: TileGraph, full: tuple, draws: TileDraws) -> Tensor:
        masked, hidden = (torch.from_numpy(one) for one in (draws.masked(graph, 0.3), draws.hidden(graph, 0.4)))
        z = self.bridge(self.encode(torch.where(masked[:, None], self.token, x), full))
        x_hat = self.decoder(z.masked_fill(masked[:, None], 0.0), *full)
        edges = torch.from_numpy(graph.edges)
        shown = (graph.encoding(hidden)[0].matrix,) if self.as_csr else (both_ways(edges[~hidden]),)
        z = self.encode(x, shown)
        (scored,) = draws.pairs(graph, hidden.numpy())
        scores = [
            self.scorer(z[pairs[:, 0]] * z[pairs[:, 1]]).squeeze(1) for pairs in (scored.positive, scored.negative)
        ]
        return scaled_cosine_error(x[masked], x_hat[masked]) + EDGE_WEIGHT * edge_loss(*scores)


def edge_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy of edges against pairs that are none; both are logits."""
    is_edge = torch.arange(len(positive) + len(negative)) < len(positive)
    return nn.functional.binary_cross_entropy_with_logits(torch.cat([positive, negative]), is_edge.float())


def both_ways(edges: Tensor) -> Tensor:
    return torch.cat([edges, edges.flip(1)]).T.contiguous()


def cached_normalisation(graph: TileGraph) -> tuple[Tensor, Tensor]:
    """Edge index and GCN weights of the full graph, self loops included: what GCNConv would cache."""
    coo = graph.decoding.matrix.to_sparse_coo().coalesce()
    return coo.indices(), coo.values()


def stepper(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=2e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    section = ad.read_h5ad(Path(os.environ["HISTOQUILT_DATA"]) / "dlpfc/151673.h5ad", backed="r")
    graph = TileGraph.whole(knn_adjacency(section.obsm["spatial"].astype(float), 12))
    x = torch.randn(graph.n_spots, N_FEATURES, generator=torch.Generator().manual_seed(0))
    steps_made = count()

    def our_stepper(dtype: torch.dtype) -> Callable[[], None]:
        network = MaskedGraphAutoencoder(N_FEATURES, N_HIDDEN, N_LATENT, dtype=dtype)

        def loss() -> Tensor:
            losses = network(x, graph, TileDraws(0, next(steps_made)))
            return losses.feature + EDGE_WEIGHT * losses.edge

        return stepper(network, loss)

    dtype = product_dtype("auto", x.device, N_LATENT)  # what SpaMask trains this network in on this machine
    on_edges = PygSpaMask(as_csr=False)
    full = cached_normalisation(graph)
    on_csr = PygSpaMask(as_csr=True)
    steps = {
        "histoquilt": our_stepper(dtype),
        "PyG edge_index": stepper(on_edges, lambda: on_edges(x, graph, full, TileDraws(0, next(steps_made)))),
        "PyG torch CSR": stepper(
            on_csr, lambda: on_csr(x, graph, (graph.decoding.matrix,), TileDraws(0, next(steps_made)))
        ),
    }
    if dtype != torch.float32:
        steps["ours in float32"] = our_stepper(torch.float32)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(arguments.steps + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat:  # the first of each warms up
                times[name].append(time.perf_counter() - start)
    base = statistics.median(times["histoquilt"])
    print(
        f"{graph.n_spots:,} spots, {graph.n_edges:,} edges, {arguments.threads} threads, {arguments.steps} steps each,"
        f" ours in {dtype}"
    )
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:16s} {1e3 * median:8.1f} ms   ours takes {base / median:.2f} of it")


if __name__ == "__main__":
    main()
