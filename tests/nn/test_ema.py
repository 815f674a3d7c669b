import copy

import pytest
import torch
from torch import nn

from histoquilt.nn import momentum_update


def networks(value: float) -> tuple[nn.Module, nn.Module]:
    online = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    follower = copy.deepcopy(online).requires_grad_(False)
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(value)
        online[1].running_mean.add_(5)
    return online, follower


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_moves_its_share_of_the_way(decay):
    online, follower = networks(2.0)
    before = copy.deepcopy(follower)
    momentum_update(online, follower, decay)
    for new, old in zip(follower.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(new, old + 2 * (1 - decay))
    assert torch.equal(follower[1].running_mean, online[1].running_mean)
    assert not any(parameter.requires_grad for parameter in follower.parameters())


def test_the_online_network_stays_as_it_is():
    online, follower = networks(2.0)
    before = copy.deepcopy(online.state_dict())
    momentum_update(online, follower, 0.5)
    for name, value in online.state_dict().items():
        assert torch.equal(value, before[name])
    with torch.no_grad():
        online[0].weight.add_(1)
    assert not torch.equal(online[0].weight, follower[0].weight)  # no memory is shared


def test_wrong_input():
    online, follower = networks(1.0)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        momentum_update(online, follower, 1.5)
    with pytest.raises(ValueError, match=r"'0\.weight' has shape \(2, 3\).*\(2, 4\) in the follower"):
        momentum_update(online, nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), 0.9)
    with pytest.raises(ValueError, match=r"'1\.num_batches_tracked' has shape \(\).*None in the follower"):
        momentum_update(online, nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)), 0.9)
