"""Simulated tissue with known domains, and folders of public studies; nothing is downloaded unless asked for.

:func:`toy_section` gives counts and positions, :func:`toy_slide` also an H&E-like image, :func:`toy_slides` several of
one tissue, :func:`toy_conditions` patients of two conditions, and :func:`paired_study` sections with image embeddings
in which one known signal determines the expression. :func:`toy_hest_task` writes a task in the layout of HEST-Bench.
:mod:`histoquilt.datasets.studies` turns the folder of a public study into a ``samples.csv``.
"""

from histoquilt.datasets import studies
from histoquilt.datasets._conditions import toy_conditions
from histoquilt.datasets._hest_task import toy_hest_task
from histoquilt.datasets._paired_study import paired_study
from histoquilt.datasets._section import toy_section
from histoquilt.datasets._slide import toy_slide, toy_slides

__all__ = [
    "paired_study", "studies", "toy_conditions", "toy_hest_task", "toy_section", "toy_slide", "toy_slides",
]  # fmt: skip
