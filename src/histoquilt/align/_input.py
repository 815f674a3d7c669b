"""Sections to align, and the moves found for them written back."""

from collections.abc import Sequence
from typing import Any

from histoquilt._base import argument
from histoquilt.align._transform import Similarity
from histoquilt.study import Sections, Slots, Study, provenance

LEAST_SPOTS = 3  # to tell how a section is turned


def read_sections(sections: Sections, slots: Slots) -> Study:
    """Return the sections, after checking that there are several, in one unit, whose microns are known.

    Raises
    ------
    TypeError, KeyError
        As :meth:`Study.of`.
    ValueError
        There are fewer than two sections or a section has fewer than three spots; units are mixed, or the microns of
        a section cannot be determined; or as :meth:`Study.of`.
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
                f"Section {name!r} has {len(section.microns)} spots; at least {LEAST_SPOTS} are needed to tell how it "
                "is turned."
            )
    return study


def write_moves(study: Study, moves: Sequence[Similarity], facts: Sequence[dict[str, Any]], key_added: str) -> None:
    """Write ``obsm[key_added]`` and ``uns["histoquilt"]["alignment"]`` into what the user gave."""
    alignment = {
        name: {
            "matrix": move.matrix,
            "shift": move.shift,
            "angle_deg": move.angle_deg,
            "mirrored": move.mirrored,
            **fact,
        }
        for name, move, fact in zip(study, moves, facts, strict=True)
    }
    study.write("obsm", key_added, {name: move(study[name].microns) for name, move in zip(study, moves, strict=True)})
    for owner in study.owners:
        provenance(owner)["alignment"] = {name: dict(fact) for name, fact in alignment.items()}
