"""Exact search for the most similar references, in blocks, and weights for what they say."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Nearest:
    """The ``k`` most cosine-similar references of every query, nearest first."""

    index: Tensor  # (n_queries, k) int64, rows of the references
    distance: Tensor  # (n_queries, k) between unit vectors: sqrt(2 - 2 cos), from 0 to 2


@torch.no_grad()
def nearest_references(query: Tensor, reference: Tensor, k: int, *, block: int = 4096) -> Nearest:
    """Find the ``k`` most cosine-similar references of every query by exact search.

    Parameters
    ----------
    query, reference
        Arrays (n_queries, n_features) and (n_references, n_features). A row of zeros is similar to nothing (cosine 0).
    k
        Number of references to find.
    block
        Number of queries and references compared at a time: at most ``block * block`` similarities are held. Changes
        memory and speed, not results (except for ties among equally similar references).

    Raises
    ------
    ValueError
        ``k`` is not between 1 and the number of references, or the widths differ.
    """
    if query.shape[1] != reference.shape[1]:
        raise ValueError(
            f"Queries have {query.shape[1]} features and references {reference.shape[1]}: embed both in one way."
        )
    if not 1 <= k <= len(reference):
        raise ValueError(f"k must lie between 1 and the {len(reference)} references, got {k}.")
    references = functional.normalize(reference, dim=1)
    found = [_search(functional.normalize(part, dim=1), references, k, block) for part in query.split(block)]
    cosine, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Nearest(index, (2 - 2 * cosine).clamp_min(0).sqrt())


def _search(query: Tensor, references: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    best = query.new_empty(len(query), 0)
    index = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for start in range(0, len(references), block):
        cosine = query @ references[start : start + block].T  # (n_queries, block)
        near, position = cosine.topk(min(k, cosine.shape[1]), dim=1)
        best, index = torch.cat([best, near], dim=1), torch.cat([index, position + start], dim=1)
        best, position = best.topk(min(k, best.shape[1]), dim=1)
        index = index.gather(1, position)
    return best, index
