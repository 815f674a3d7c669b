"""Verdict whether a section is unlike training: spot by spot by embedding and stain, as a whole by its features."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from histoquilt._base import Keys
from histoquilt.models.expression.unlike._transfer import Transfer
from histoquilt.runtime import logger, warn_user

MANY_OUTSIDE = 0.1  # share of spots unlike training above which a section is warned about


@dataclass(frozen=True)
class Unlike:
    """How far one section is from training; above 1 is outside.

    Attributes
    ----------
    embedding, stain
        Distance of each spot ``(n_spots,)`` and of the section as a whole; no stain where none can be compared.
    transfer
        Comparison of the variance of its features with that of training.
    """

    embedding: tuple[np.ndarray, float]
    stain: tuple[np.ndarray, float] | None
    transfer: Transfer

    @property
    def score(self) -> np.ndarray:
        """The larger of the two distances of each spot, ``(n_spots,)``."""
        return self.embedding[0] if self.stain is None else np.maximum(self.embedding[0], self.stain[0])

    @property
    def section_score(self) -> float:
        """The larger of the two of the section."""
        return self.embedding[1] if self.stain is None else max(self.embedding[1], self.stain[1])

    @property
    def outside(self) -> np.ndarray:
        """Which spots are outside by either, bool ``(n_spots,)``."""
        return _outside(self.score, self.section_score)

    def shares(self) -> dict[str, Any]:
        """Return what ``uns["histoquilt"]["prediction"]`` says of it."""
        record: dict[str, Any] = {
            "share_out_of_distribution": float(self.outside.mean()),
            "share_out_of_distribution_by_embedding": float(_outside(*self.embedding).mean()),
            "section_out_of_distribution_score": self.section_score,
            "stain_compared": self.stain is not None,
            **self.transfer.record(),
        }
        if self.stain is not None:
            record["share_out_of_distribution_by_stain"] = float(_outside(*self.stain).mean())
        return record

    def warn(self, name: str) -> None:
        """Warn if the features do not transfer, and if many spots are outside, naming the cause.

        Log if transfer was not judged.
        """
        if not self.transfer.judged:
            logger.info(
                "%s: not judged whether reliability transfers to this section: it has too few spots, its features do "
                "not vary, or all training sections had too few spots.", name,
            )  # fmt: skip
        if not self.transfer.transfers:
            warn_user(f"{name}: {self.transfer.warning}")
        share = self.outside.mean()
        if share <= MANY_OUTSIDE:
            return
        which = "The section as a whole looks" if self.section_score > 1 else f"{share:.0%} of the spots look"
        by_embedding = _outside(*self.embedding).mean()
        by_stain = 0.0 if self.stain is None else _outside(*self.stain).mean()
        if by_stain > 2 * by_embedding:
            why = (
                f"by the stain ({by_stain:.0%} of the spots; {by_embedding:.0%} by the embedding): stained, scanned or "
                "exposed otherwise"
            )
        elif by_stain > MANY_OUTSIDE:
            why = (
                f"by the embedding ({by_embedding:.0%} of the spots) and by the stain ({by_stain:.0%}): another organ, "
                "staining or scanner"
            )
        else:
            what = "another organ, scanner or focus" if self.stain else "another organ, stain, scanner or focus"
            why = f"by the embedding: {what}"
        warn_user(
            f"{name}: {which} unlike the tissue that the model was trained on (obs[{Keys.OUT_OF_DISTRIBUTION!r}]), "
            f"{why}. Do not trust the prediction there."
        )


def _outside(score: np.ndarray, section_score: float) -> np.ndarray:
    # of a section that is unlike all of training as a whole, no spot is ordinary
    return (score > 1) | (section_score > 1)
