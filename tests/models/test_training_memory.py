"""A training that would not fit is refused before it starts, with the numbers and what to do."""

from pathlib import Path

import pandas as pd
import pytest

from histoquilt import models
from histoquilt.models import ReducedRankRidge, Stack
from histoquilt.models.expression import _training_memory
from histoquilt.models.expression._training_memory import TrainingSize, bytes_to_train

TABLE = Path(__file__).parents[2] / "benchmarks" / "memory_of_training.csv"
GB = 10**9


def test_estimates_lie_above_measured_peaks():
    if not TABLE.exists():
        pytest.skip("benchmarks/ is not shipped with this copy of the tests")
    for row in pd.read_csv(TABLE).itertuples():
        size = TrainingSize(row.n_sections, row.n_sections * row.n_spots, row.n_columns, row.n_genes)
        needed = bytes_to_train(size, n_models=getattr(models, row.model)().n_models)
        assert 1.0 < needed / (row.megabytes * 1e6) < 1.6, row


def test_what_makes_a_training_larger():
    size = TrainingSize(100, 50_000, 600, 1000)
    for larger in (
        TrainingSize(100, 60_000, 600, 1000),
        TrainingSize(100, 50_000, 800, 1000),
        TrainingSize(100, 50_000, 600, 1200),
        TrainingSize(120, 50_000, 600, 1000),
    ):
        assert bytes_to_train(larger) > bytes_to_train(size)
    assert bytes_to_train(size, n_models=3) > bytes_to_train(size)
    assert bytes_to_train(size, neighbours=False) < bytes_to_train(size)
    assert bytes_to_train(size, n_models=3) < 4 * GB


@pytest.mark.parametrize("model", [ReducedRankRidge, Stack])
def test_a_training_is_refused_before_it_starts_and_can_be_insisted_on(model, study, monkeypatch):
    monkeypatch.setattr(_training_memory, "available_bytes", lambda: 1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(model, "fit_arrays", None)
        words = r"256 spots of 4 sections .embeddings of 6 col.*GB of memory; 0\.001 GB is available.*check_memory"
        with pytest.raises(ValueError, match=words):
            model().fit(study, use_rep="X_image")
    assert model().fit(study, use_rep="X_image", check_memory=False).n_genes
