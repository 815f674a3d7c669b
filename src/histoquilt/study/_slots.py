"""Keys of the parts of a section."""

from dataclasses import dataclass

from histoquilt._base import Keys


@dataclass(frozen=True)
class Slots:
    """Where the parts of a section lie in its AnnData.

    Attributes
    ----------
    spatial_key
        Key in ``obsm`` of the spot centres.
    section_key
        Column of ``obs`` with the name of the section.
    layer
        Layer with the expression; by default ``layers["counts"]``, else ``X``.

    Examples
    --------
    >>> from histoquilt.study import Slots
    >>> Slots(section_key="sample_id")
    Slots(spatial_key='spatial', section_key='sample_id', layer=None)
    """

    spatial_key: str = Keys.SPATIAL
    section_key: str = Keys.SECTION
    layer: str | None = None


DEFAULT_SLOTS = Slots()
