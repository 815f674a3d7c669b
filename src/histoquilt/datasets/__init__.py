"""Tissue made on the spot, with known domains: the same for the demo, the documentation, the tests and benchmarks.

Nothing is downloaded. :func:`toy_section` gives counts and positions, :func:`toy_slide` an H&E-like image as
well, :func:`toy_slides` several of one tissue, :func:`paired_study` sections with image embeddings in which one known
thing tells the expression.
"""

from histoquilt.datasets._paired_study import paired_study
from histoquilt.datasets._section import toy_section
from histoquilt.datasets._slide import toy_slide
from histoquilt.datasets._study_slides import toy_slides

__all__ = ["paired_study", "toy_section", "toy_slide", "toy_slides"]
