"""Stain unlike that of the training sections: distance of colour and darkness around a spot to those of training."""

from dataclasses import dataclass

import numpy as np

from histoquilt._base import Keys
from histoquilt.models.expression._inner_validation import inner_folds
from histoquilt.models.expression.unlike._embedding import limits
from histoquilt.runtime import logger
from histoquilt.study import Section, Study

# A held-out section of the same study had 0.42-0.85 times the limit (her2st, ALS), mice stained on other days, their
# slides darker by half, 1.04-1.49 times, a section with 15 % less red 1.9 times, with 30 % more contrast 3.3 times.
# Densities are natural logarithms: one per cent of the light. A scanner's noise and the rounding of a JPEG are no less,
# and deviations in a direction in which training hardly varies are divided by no less.
LEAST_SPREAD = 0.01
LEAST_TISSUE = 0.9  # share of tissue around a spot of a bare slide below which its stain is not compared


@dataclass(frozen=True)
class StainDistribution:
    """Distribution of the stain statistics of the training sections (``obsm["X_stain"]``).

    A spot's distance is the Mahalanobis distance from the mean of the training spots. An encoder that was trained to
    ignore colour may place an unusually stained section among familiar ones; this measure does not. The limits are
    found by leaving out one group of sections at a time, as for embeddings.

    Attributes
    ----------
    mean
        Mean of the training spots, ``(n_columns,)``.
    axes
        Whitening matrix ``(n_columns, n_columns)``: deviations times this have about unit variance in training.
    spot_limit
        Distance that 99 % of the left-out spots stay below.
    section_limit
        Largest median distance of a left-out section, with a margin.
    field_um, input_mpp
        Side of the measured patches in microns, and their microns per pixel. Patches of another size or resolution
        have another spread and are not comparable.
    """

    mean: np.ndarray
    axes: np.ndarray
    spot_limit: float
    section_limit: float
    field_um: float
    input_mpp: float

    @classmethod
    def fit(cls, stains: list[np.ndarray], groups: list[str], patches: tuple[float, float]) -> "StainDistribution":
        """Learn from the stain ``(n_spots, n_columns)`` of sections of at least two groups.

        ``patches`` are side in microns and microns per pixel of what was measured.
        """
        left_out = []
        for fold in inner_folds(groups):
            others = cls._of([stains[i] for i in fold.train], (1.0, 1.0), patches)
            left_out += [others.distance(stains[i]) for i in fold.held_out]
        return cls._of(stains, limits(left_out), patches)

    @classmethod
    def _of(
        cls, stains: list[np.ndarray], spot_and_section: tuple[float, float], patches: tuple[float, float]
    ) -> "StainDistribution":
        spots = np.concatenate(stains).astype(np.float64)
        mean = spots.mean(axis=0)
        centred = spots - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(spots))
        axes = vectors / np.sqrt(np.maximum(values, 0) + LEAST_SPREAD**2)
        return cls(mean, axes, *spot_and_section, *patches)

    def distance(self, stain: np.ndarray) -> np.ndarray:
        """Return each spot's distance ``(n_spots,)``."""
        return np.asarray(np.linalg.norm((stain - self.mean) @ self.axes, axis=1))

    def score(self, stain: np.ndarray, tissue: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """Return the distance of each spot ``(n_spots,)`` and of the section, in units of the limits.

        ``tissue`` is the share of tissue around each spot, if known. Spots with much glass are not compared, and have
        distance 0: glass makes a stain look pale.
        """
        distance = self.distance(stain)
        compared = np.full(len(distance), True) if tissue is None else tissue >= LEAST_TISSUE
        if not compared.any():
            compared[:] = True
        section = float(np.median(distance[compared])) / self.section_limit
        return np.where(compared, distance, 0.0) / self.spot_limit, section

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`restore` needs."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> "StainDistribution":
        """Rebuild from :meth:`arrays`."""
        numbers = {name: float(value) for name, value in arrays.items() if name not in ("mean", "axes")}
        return cls(mean=arrays["mean"], axes=arrays["axes"], **numbers)


def fit_stain_distribution(study: Study, groups: list[str]) -> StainDistribution | None:
    """Fit the stain of the training sections; ``None`` if some lack it or measured it on patches of another size."""
    found = {name: measured_patches(section) for name, section in study.items()}
    without = [name for name, patches in found.items() if patches is None]
    if without:
        if len(without) < len(found):
            logger.info("No stain is compared: section %s has no obsm[%r].", without[0], Keys.STAIN)
        return None
    known = [patches for patches in found.values() if patches is not None]
    if not all(np.allclose(patches, known[0], rtol=0.01) for patches in known):
        logger.info("No stain is compared: it was measured on patches of different size (%s).", found)
        return None
    stains = [section.embeddings((Keys.STAIN,))[0] for section in study.values()]
    return StainDistribution.fit(stains, groups, known[0])


def read_stain(section: Section, fitted: StainDistribution) -> np.ndarray | None:
    """Return the stain of a section to predict; ``None`` if it has none that can be compared."""
    patches = measured_patches(section)
    if patches is None:
        logger.info("%s: no obsm[%r], so its stain is not compared with training.", section.name, Keys.STAIN)
        return None
    if not np.allclose(patches, (fitted.field_um, fitted.input_mpp), rtol=0.01):
        logger.info(
            "%s: its stain was measured on fields of %g um at %g um per pixel, that of training on %g at %g; they are "
            "not compared.", section.name, *patches, fitted.field_um, fitted.input_mpp,
        )  # fmt: skip
        return None
    (stain,) = section.embeddings((Keys.STAIN,))
    if stain.shape[1] != len(fitted.mean):
        logger.info("%s: obsm[%r] has other columns than in training; it is not compared.", section.name, Keys.STAIN)
        return None
    return stain


def measured_patches(section: Section) -> tuple[float, float] | None:
    """Return side in microns and microns per pixel of the patches whose stain a section has."""
    record = section.record(Keys.STAIN)
    if Keys.STAIN not in section.view.obsm or not {"field_um", "input_mpp"} <= record.keys():
        return None
    return float(record["field_um"]), float(record["input_mpp"])
