"""Sections that cannot be evaluated, and leaks that names of patients and slides do not show.

Leaks are the same spots, or the same image, on both sides of a fold. Spots are compared in all folds. Images only in
folds that a user gives: their files have to be read.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, listed
from histoquilt.io import patient_spellings
from histoquilt.runtime import warn_user
from histoquilt.study import Study, ordinary_zeros
from histoquilt.train import Split

_ROWS = ("pooled", "pooled_centred", "all")  # of the tables, over several sections
LEAST_GENES = 20  # expressed in a spot; two spots with fewer may be equal by chance


def check_duplicates(splits: Sequence[Split], study: Study) -> None:
    """Raise ``ValueError`` if a spot of training has the same expression as a held-out one: a section given twice.

    Sections that share fewer than ``LEAST_GENES`` genes cannot be compared, and pass.
    """
    measured = [section.owner.var_names for section in study.values()]
    genes = [gene for gene in measured[0] if all(gene in names for names in measured[1:])]
    if len(genes) < LEAST_GENES:
        return
    named = dict.fromkeys(name for split in splits for name in (*split.train, *split.test))
    with ordinary_zeros():
        digests = {name: _spot_digests(study, name, genes) for name in named}
    for split in splits:
        for test in split.test:
            for train in split.train:
                if n_shared := len(digests[test] & digests[train]):
                    raise ValueError(
                        f"Split {split.fold!r} leaks: {n_shared:,} spots of the held-out section {test!r} are also in "
                        f"{train!r}, which is trained on, with the same expression. Are they one tissue under two "
                        "names? Leave one of them out, or hold both out."
                    )


def check_sections(splits: Sequence[Split], study: Study, patients: Mapping[str, str | None]) -> None:
    """Raise ``ValueError`` for sections that cannot be evaluated, or whose spots are on both sides of a split.

    Parameters
    ----------
    splits, study
        Folds, and their sections.
    patients
        Section -> patient, None if it is not known.

    Warns
    -----
    UserWarning
        Two spellings of what may be one patient are on both sides of a split.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import check_sections
    >>> from histoquilt.study import Study
    >>> study = Study.of(hq.datasets.paired_study(n_sections=3, n_spots=40, n_genes=30, seed=0))
    >>> split = hq.train.Split("s1", ["s2", "s3"], ["s1"], optimistic=False)
    >>> check_sections([split], study, {"s1": "P1", "s2": "P2", "s3": "P3"})
    """
    for name, section in study.items():
        if name in _ROWS:
            raise ValueError(f"No section may be called {name!r}: rows over all sections are. Rename it.")
        if section.view.n_obs < 2:
            raise ValueError(
                f"Section {name!r} has {section.view.n_obs} spot(s); a correlation needs two. Leave it out."
            )
    check_duplicates(splits, study)
    for split in splits:
        if not split.optimistic:
            _warn_of_spellings(split, patients)


def _warn_of_spellings(split: Split, patients: Mapping[str, str | None]) -> None:
    test, train = ([patients[name] for name in side] for side in (split.test, split.train))
    for names in patient_spellings(name for name in (*test, *train) if name is not None):
        held_out, trained_on = ([name for name in names if name in side] for side in (test, train))
        if held_out and trained_on:
            warn_user(
                f"Split {split.fold!r} holds out the {Keys.PATIENT} {listed(held_out)} and trains on "
                f"{listed(trained_on)}. If they are one, write the name alike, or its scores are optimistic."
            )


def check_images(splits: Sequence[Split], images: Mapping[str, str]) -> None:
    """Raise ``ValueError`` if a held-out section lies on an image that is trained on (section -> digest of its image).

    An ``optimistic`` split may share images, as it may share slides.

    Examples
    --------
    >>> from histoquilt.evaluate import check_images
    >>> from histoquilt.train import Split
    >>> split = Split("s1", train=["s2"], test=["s1"], optimistic=False)
    >>> check_images([split], {"s1": "5d41", "s2": "7b8b"})
    >>> check_images([split], {"s1": "5d41", "s2": "5d41"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: Split 's1' leaks: held-out sections lie on the same image as sections that are ...
    """
    for split in splits:
        if split.optimistic:
            continue
        of_image: dict[str, str] = {images[name]: name for name in split.train if name in images}
        shared = [(name, of_image[images[name]]) for name in split.test if images.get(name) in of_image]
        if shared:
            pairs = listed([f"{test} and {train}" for test, train in shared], 3)
            raise ValueError(
                f"Split {split.fold!r} leaks: held-out sections lie on the same image as sections that are trained on "
                f"({pairs}). Move them to one side, and name the slide in the column slide of samples.csv."
            )


def _spot_digests(study: Study, name: str, genes: Sequence[str]) -> set[int]:
    """Return a digest of each spot's expression of some genes, without spots that express few."""
    matrix = csr_matrix(study[name].expression.of_genes(genes), dtype=np.float32)
    matrix.eliminate_zeros()
    weights = np.frombuffer(
        b"".join(hashlib.blake2b(gene.encode(), digest_size=8).digest() for gene in genes), dtype=np.uint64
    )
    bits = matrix.data.view(np.uint32).astype(np.uint64)
    sums = np.add.reduceat(np.append(bits * weights[matrix.indices], np.uint64(0)), matrix.indptr[:-1])
    return set(sums[np.diff(matrix.indptr) >= LEAST_GENES].tolist())
