import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from histoquilt.nn import nearest_references


@pytest.fixture
def embeddings(generator) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(37, 6, generator=generator), 3 * torch.randn(101, 6, generator=generator)


@pytest.mark.parametrize("block", [1, 8, 50, 4096])
@pytest.mark.parametrize("k", [1, 5, 101])
def test_is_the_full_search_whatever_the_block(embeddings, block, k):
    query, reference = embeddings
    found = nearest_references(query, reference, k, block=block)
    cosine = torch.nn.functional.cosine_similarity(query[:, None], reference[None], dim=2)
    best, index = cosine.sort(dim=1, descending=True)
    assert torch.equal(found.index, index[:, :k])
    torch.testing.assert_close(found.squared, (2 - 2 * best[:, :k]).clamp_min(0), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("block", [4, 4096])
def test_euclidean_distances_agree_with_scikit_learn(embeddings, block):
    query, reference = (values.double() for values in embeddings)
    found = nearest_references(query, reference, 9, metric="euclidean", block=block)
    distances, index = NearestNeighbors(n_neighbors=9).fit(reference.numpy()).kneighbors(query.numpy())
    assert found.index.tolist() == index.tolist()
    torch.testing.assert_close(found.squared.sqrt(), torch.from_numpy(distances), rtol=1e-9, atol=1e-9)


def test_no_matrix_of_all_pairs_is_held(embeddings, monkeypatch):
    query, reference = embeddings
    largest = 0
    product = torch.Tensor.__matmul__

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        result = product(a, b)
        largest = max(largest, result.numel())
        return result

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    nearest_references(query, reference, 5, block=10)
    assert 0 < largest <= 100


def test_by_hand():
    reference = torch.tensor([[0.0, 1.0], [5.0, 0.0], [-1.0, 0.0]])
    found = nearest_references(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), reference, 3)
    assert found.index[0].tolist() == [1, 0, 2]
    torch.testing.assert_close(found.squared, torch.tensor([[0.0, 2.0, 4.0], [2.0] * 3]))


def test_wrong_input(embeddings):
    query, reference = embeddings
    with pytest.raises(ValueError, match="Queries have 6 features and references 5"):
        nearest_references(query, reference[:, :5], 3)
    for k in (0, 102):
        with pytest.raises(ValueError, match=f"between 1 and the 101 references, got {k}"):
            nearest_references(query, reference, k)
