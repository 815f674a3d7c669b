"""The file in which training is kept: what comes back, and what is not trusted."""

import logging
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from histoquilt.train import TrainingCheckpoint, restore_training, training_folder, training_tensors
from histoquilt.train import _checkpoint as module

CPU = torch.device("cpu")
JOB = {"seed": 0, "data": "abc", "settings": {"rate": 0.1, "fields": [1, 2]}}
TENSORS = {"weights": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7), "bytes": torch.tensor([1, 255]).byte()}
FACTS = {"rows": [{"loss": 0.1 + 0.2, "change": math.nan}, {"loss": 5e-324, "change": 1 / 3}], "ended": False}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kept" / "network.safetensors"
    TrainingCheckpoint(path, JOB, CPU).write(TENSORS, FACTS)
    return path


def test_everything_comes_back_as_it_was(file):
    kept = TrainingCheckpoint(file, JOB, CPU).read()
    assert kept.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert kept.tensors[name].dtype == value.dtype
        assert torch.equal(kept.tensors[name], value)
    rows = kept.facts["rows"]
    assert rows[1] == FACTS["rows"][1]
    assert rows[0]["loss"] == 0.1 + 0.2
    assert math.isnan(rows[0]["change"])
    assert kept.facts["ended"] is False


def test_what_is_read_can_be_changed_without_harm_to_the_file(file):
    TrainingCheckpoint(file, JOB, CPU).read().tensors["weights"].fill_(-1)
    assert torch.equal(TrainingCheckpoint(file, JOB, CPU).read().tensors["weights"], TENSORS["weights"])


def test_where_nothing_was_kept_there_is_nothing_to_say(tmp_path, caplog):
    assert TrainingCheckpoint(tmp_path / "absent" / "network.safetensors", JOB, CPU).read() is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"data": "abd"}, "data"),
        ({"settings": {"rate": 0.2, "fields": [1, 2]}}, "settings"),
        ({"more": 1}, "more"),
    ],
)
def test_another_job_is_not_taken_up(file, caplog, changed, named):
    assert TrainingCheckpoint(file, JOB | changed, CPU).read() is None
    assert f"was kept by another job ({named} differ): training starts over" in caplog.text


@pytest.mark.parametrize(
    ("owner", "name", "value", "named"),
    [
        (module.histoquilt, "__version__", "0.0.1", "histoquilt"),
        (torch, "__version__", "9.9.9", "torch"),
        (torch, "get_num_threads", lambda: 77, "n_threads"),
    ],
)
def test_another_environment_is_another_job(file, caplog, monkeypatch, owner, name, value, named):
    monkeypatch.setattr(owner, name, value)
    assert TrainingCheckpoint(file, JOB, CPU).read() is None
    assert f"({named} differ)" in caplog.text


def test_another_device_is_another_job(file, caplog):
    assert TrainingCheckpoint(file, JOB, torch.device("cuda")).read() is None
    assert "(device differ)" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.999])
def test_a_truncated_file_is_no_reason_to_stop(file, caplog, share):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert TrainingCheckpoint(file, JOB, CPU).read() is None
    assert f"{file} cannot be read" in caplog.text
    assert "training starts over" in caplog.text


def test_a_changed_byte_is_noticed(file, caplog):
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(whole)
    assert TrainingCheckpoint(file, JOB, CPU).read() is None
    assert "its digest differs" in caplog.text


def test_a_file_of_others_is_no_reason_to_stop(file, caplog):
    save_file(TENSORS, file)
    assert TrainingCheckpoint(file, JOB, CPU).read() is None
    assert "cannot be read" in caplog.text


def test_killed_while_writing_leaves_what_was_kept(file, monkeypatch):
    class Killed(BaseException):
        pass

    def write_half(path: Path, data: bytes) -> None:
        with path.open("wb") as out:
            out.write(data[: len(data) // 2])
        raise Killed

    checkpoint = TrainingCheckpoint(file, JOB, CPU)
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(Killed):
        checkpoint.write({"weights": torch.zeros(1000)}, {"rows": [], "ended": True})
    assert TrainingCheckpoint(file, JOB, CPU).read().facts["ended"] is False


def test_what_a_killed_process_left_half_written_goes(file):
    left = file.parent / ".network-k2j4.safetensors"
    other = file.parent / ".network_2-k2j4.safetensors"
    left.write_bytes(b"half")
    other.write_bytes(b"of another network")
    assert TrainingCheckpoint(file, JOB, CPU).read() is not None
    assert not left.exists()
    assert other.exists()


def test_a_full_disk_does_not_stop_training(file, caplog, monkeypatch):
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    TrainingCheckpoint(file, JOB, CPU).write(TENSORS, {"rows": [], "ended": True})
    assert "Cannot write the training checkpoint" in caplog.text
    assert "No space left on device" in caplog.text
    monkeypatch.undo()
    assert TrainingCheckpoint(file, JOB, CPU).read().facts["ended"] is False


def test_it_is_due_when_time_has_passed(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpoint = TrainingCheckpoint(tmp_path / "network.safetensors", JOB, CPU)
    assert not checkpoint.due
    now[0] += module.CHECKPOINT_EVERY
    assert checkpoint.due

    def slow(path: Path, data: bytes) -> None:
        now[0] += 2

    monkeypatch.setattr(Path, "write_bytes", slow)
    checkpoint.write(TENSORS, FACTS)
    now[0] += 39
    assert not checkpoint.due, "two seconds of writing are worth forty of training"
    now[0] += 1
    assert checkpoint.due


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"must be a folder, and is a file\. Name another place"):
        training_folder(tmp_path / "file")
    assert training_folder(tmp_path / "a" / "b").is_dir()


def test_an_optimiser_goes_on_from_where_it_was():
    def build(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.Generator]:
        torch_rng = torch.Generator().manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(torch.randn(weight.shape, generator=torch_rng))
        return network, torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=0.1), torch_rng

    def train(parts, n_steps: int) -> list[float]:
        network, optimiser, generator = parts
        losses = []
        for _ in range(n_steps):
            optimiser.zero_grad()
            loss = network(torch.randn(8, 3, generator=generator)).square().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    whole = build(0)
    losses = train(whole, 9)
    first = build(0)
    assert train(first, 4) == losses[:4]
    second = build(1)  # anything: all of it is replaced
    restore_training(training_tensors(*first), *second)
    assert train(second, 5) == losses[4:]
    assert all(map(torch.equal, whole[0].state_dict().values(), second[0].state_dict().values()))


def test_before_the_first_step_there_are_no_moments():
    network = torch.nn.Linear(2, 1)
    optimiser, generator = torch.optim.Adam(network.parameters()), torch.Generator().manual_seed(3)
    tensors = training_tensors(network, optimiser, generator)
    assert sorted(tensors) == ["generator", "network.bias", "network.weight"]
    restore_training(tensors, network, optimiser, generator)
    assert not optimiser.state_dict()["state"]


def test_log_is_silent_where_all_is_well(file, caplog):
    with caplog.at_level(logging.DEBUG, "histoquilt"):
        assert TrainingCheckpoint(file, JOB, CPU).read() is not None
    assert not caplog.records
