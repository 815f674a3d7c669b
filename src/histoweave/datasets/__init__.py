"""Tissue made on the spot, with known domains: the same for the demo, the documentation, the tests and benchmarks.

Nothing is downloaded. :func:`toy_section` gives counts and positions, :func:`toy_slide` an H&E-like image as well.
"""

from histoweave.datasets._section import toy_section
from histoweave.datasets._slide import toy_slide

__all__ = ["toy_section", "toy_slide"]
