"""Public studies: from a folder as its authors publish it to a ``samples.csv``, and downloads.

:func:`describe` recognises the layout of a folder and lists its sections and what is missing, :func:`write_samples`
writes them as a table that all commands read, and :func:`download` fetches a study whose addresses are known.
"""

from histoquilt.datasets.studies._download import download
from histoquilt.datasets.studies._layout import StudyFolder, StudyLayout
from histoquilt.datasets.studies._recognise import describe, layouts, write_samples
from histoquilt.datasets.studies._remote import DOWNLOADS, RemoteFile, RemoteStudy

__all__ = [
    "DOWNLOADS", "RemoteFile", "RemoteStudy", "StudyFolder", "StudyLayout", "describe", "download", "layouts",
    "write_samples",
]  # fmt: skip
