"""Leaks that the names of patients and slides do not show: the same spots, or the same image, on both sides of a fold.

Spots are compared in all folds. Images only in folds that a user gives: their files have to be read.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt._base import listed
from histoquilt.study import Study, ordinary_zeros
from histoquilt.train import Split

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
