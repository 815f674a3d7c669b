"""Page of exported files: which viewer opens which file, and how."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histoquilt.report._facts import facts_of
from histoquilt.report._render import write_page


@dataclass(frozen=True)
class OpenedWith:
    """Files that a viewer opens.

    Attributes
    ----------
    viewer
        Name of the viewer or program.
    files
        Paths of the files, relative to the page.
    how
        Where to drag them, or which menu to use.

    Examples
    --------
    >>> import histoquilt as hq
    >>> opened = hq.report.OpenedWith("QuPath", ["exports/qupath/s1.geojson"], "Drag it onto the open image.")
    >>> opened.viewer, opened.files
    ('QuPath', ['exports/qupath/s1.geojson'])
    """

    viewer: str
    files: Sequence[str]
    how: str


def write_exports_page(
    path: str | os.PathLike[str],
    opened: Sequence[OpenedWith],
    *,
    facts: Mapping[str, Any] | None = None,
    title: str = "Open the results in a viewer",
    links: Mapping[str, str] | None = None,
) -> None:
    """Write an HTML page that says where to drag which exported file.

    Parameters
    ----------
    path
        Path of the file, written atomically; an existing file is replaced.
    opened
        One entry per viewer.
    facts, title
        Contents of ``run.json``, and headline of the page.
    links
        Link text -> address of further pages, shown at the top of this one.

    Examples
    --------
    >>> page = getfixture("tmp_path") / "viewers.html"
    >>> write_exports_page(page, [OpenedWith("QuPath", ["qupath/s1.geojson"], "Drag it onto the image.")])
    >>> "Drag it onto the image." in page.read_text()
    True
    """
    shown = facts_of([("Viewers", str(len(opened)))], facts or {})
    write_page(path, "_exports.html", "_prediction.js", title=title, links=links, opened=opened, facts=shown)
