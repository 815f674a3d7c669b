"""SpaHGC's network and its four-term loss."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._graph import SectionGraph
from histoquilt.nn import (
    CrossNodeReadout,
    HeteroGraph,
    HeteroLayer,
    InputBlock,
    complementary_masks,
    cosine_loss,
    gene_correlation_loss,
    hide,
)


@dataclass(frozen=True)
class Encoded:
    """States of the nodes after the last layer."""

    target: Tensor  # (n_targets, n_hidden)
    reference: Tensor  # (n_references, n_hidden)
    expression: Tensor  # (n_references, n_hidden) embedded expression


@dataclass(frozen=True)
class SpaHGCLosses:
    """The four terms of the loss, and their weighted sum ``total``."""

    squared: Tensor
    correlation: Tensor
    target: Tensor
    reference: Tensor
    total: Tensor


class Encoder(nn.Module):
    """Input blocks and message-passing layers; the momentum encoder is a copy."""

    def __init__(self, n_inputs: int, n_genes: int, config: SpaHGCConfig) -> None:
        super().__init__()
        self.n_genes = n_genes
        self.target = InputBlock(n_inputs, config.n_hidden, dropout_rate=config.input_dropout)
        self.reference = InputBlock(n_inputs + n_genes, config.n_hidden, dropout_rate=config.input_dropout)
        self.expression = nn.Linear(n_genes, config.n_hidden)
        self.layers = nn.ModuleList(
            HeteroLayer(config.n_hidden, n_heads=config.n_heads, dropout_rate=config.attention_dropout)
            for _ in range(config.n_layers)
        )

    def forward(
        self, target: Tensor, reference: Tensor, graph: HeteroGraph, generator: torch.Generator | None
    ) -> Encoded:
        """target: (n_targets, n_inputs); reference: (n_references, n_inputs + n_genes), expression last."""
        expression = self.expression(reference[:, -self.n_genes :])
        states = self.target(target, generator), self.reference(reference, generator)
        for layer in self.layers:
            states = layer(*states, expression, graph, generator)
        return Encoded(*states, expression)


class SpaHGCNetwork(nn.Module):
    """Encoder, attention to the references (CNAP), and a linear layer to the genes."""

    def __init__(self, n_inputs: int, n_genes: int, config: SpaHGCConfig) -> None:
        super().__init__()
        self.encoder = Encoder(n_inputs, n_genes, config)
        self.readout = CrossNodeReadout(config.n_hidden, n_heads=config.n_heads, dropout_rate=config.attention_dropout)
        self.genes = nn.Linear(config.n_hidden, n_genes)

    def forward(self, section: SectionGraph, generator: torch.Generator | None = None) -> Tensor:
        """Return the prediction from unmasked inputs, (n_targets, n_genes)."""
        encoded = self.encoder(section.target, section.reference, section.graph, generator)
        return self.read(encoded, section.graph, generator)

    def read(self, encoded: Encoded, graph: HeteroGraph, generator: torch.Generator | None) -> Tensor:
        """Return the prediction from node states, (n_targets, n_genes)."""
        state = self.readout(encoded.target, encoded.reference, encoded.expression, graph.to_target, generator)
        return self.genes(functional.leaky_relu(state, 0.2))


def training_losses(
    network: SpaHGCNetwork,
    follower: Encoder,
    section: SectionGraph,
    y: Tensor,
    weights: Tensor,
    config: SpaHGCConfig,
    generator: torch.Generator,
) -> SpaHGCLosses:
    """Return the losses of one section; ``follower`` is the momentum encoder.

    y: (n_targets, n_genes); weights: (n_targets,) with mean 1.
    """
    graph = section.graph
    target_views, reference_views = (
        [hide(x, hidden) for hidden in complementary_masks(tuple(x.shape), rate, generator)]
        for x, rate in ((section.target, config.target_mask_rate), (section.reference, config.reference_mask_rate))
    )
    online = network.encoder(target_views[0], reference_views[0], graph, generator)
    with torch.no_grad():
        other = follower(target_views[1], reference_views[1], graph, None)
    masked = config.regress_on == "masked"
    predicted = network.read(online, graph, generator) if masked else network(section, generator)
    squared = (weights[:, None] * (predicted - y) ** 2).mean()
    correlation = gene_correlation_loss(predicted, y)
    target = cosine_loss(online.target, other.target)
    reference = cosine_loss(online.reference, other.reference)
    total = squared + config.correlation_weight * correlation
    total = total + config.target_weight * target + config.reference_weight * reference
    return SpaHGCLosses(squared, correlation, target, reference, total)
