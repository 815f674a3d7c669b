"""Read sections to align, and write their transforms."""

from collections.abc import Sequence
from typing import Any

from histoquilt._base import argument
from histoquilt.align._transform import Similarity
from histoquilt.study import Sections, Slots, Study, provenance

LEAST_SPOTS = 3  # to determine the rotation of a section


def read_sections(sections: Sections, slots: Slots) -> Study:
    """Return the study, after checking that it has two sections of three spots each, in one unit and known microns.

    Raises ``ValueError`` if not, and the errors of :meth:`Study.of`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.align import read_sections
    >>> from histoquilt.study import Slots
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, n_sections=2, seed=0)
    >>> list(read_sections(adata, Slots()))
    ['s1', 's2']
    >>> read_sections([adata[adata.obs["section"] == "s1"]], Slots())
    Traceback (most recent call last):
        ...
    ValueError: At least two sections are needed, got 1. Is section_key='section' right?
    """
    study = Study.of(sections, slots)
    if len(study) < 2:
        raise ValueError(
            f"At least two sections are needed, got {len(study)}. Is {argument('section_key', slots.section_key)} "
            "right?"
        )
    study.check_units()
    for name, section in study.items():
        if len(section.microns) < LEAST_SPOTS:
            raise ValueError(
                f"Section {name!r} has {len(section.microns)} spots; at least {LEAST_SPOTS} are needed to determine "
                "its rotation."
            )
    return study


def write_moves(study: Study, moves: Sequence[Similarity], facts: Sequence[dict[str, Any]], key_added: str) -> None:
    """Write ``obsm[key_added]`` and ``uns["histoquilt"]["alignment"]`` into the AnnData that the user passed.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.align import Similarity, read_sections, write_moves
    >>> from histoquilt.study import Slots
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, n_sections=2, seed=0)
    >>> study = read_sections(adata, Slots())
    >>> moves = [Similarity.identity(), Similarity(np.eye(2), np.array([500.0, 0]))]
    >>> write_moves(study, moves, [{}, {}], "aligned")
    >>> (adata.obsm["aligned"] - adata.obsm["spatial"])[[0, 60]].tolist()
    [[0.0, 0.0], [500.0, 0.0]]
    >>> adata.uns["histoquilt"]["alignment"]["s2"]["shift"].tolist()
    [500.0, 0.0]
    """
    keys = ("matrix", "shift", "angle_deg", "mirrored")
    alignment = {
        name: {**{key: getattr(move, key) for key in keys}, **fact}
        for name, move, fact in zip(study, moves, facts, strict=True)
    }
    study.write("obsm", key_added, {name: move(study[name].microns) for name, move in zip(study, moves, strict=True)})
    for owner in study.owners:
        provenance(owner)["alignment"] = {name: dict(fact) for name, fact in alignment.items()}
