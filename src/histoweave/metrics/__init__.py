"""How good are these domains: agreement with an annotation, continuity in space, mixing of sections, genes in space.

Arrays in, numbers out: nothing here knows AnnData or torch, so the metrics serve the output of any tool. Labels may
be strings, numbers or a pandas categorical; a spot whose label is ``NaN``, ``None``, ``pd.NA`` or an empty string is
unlabelled and left out. Time and memory grow with the number of spots times neighbours or domains; no matrix of
spots by spots is ever built.
"""

from histoweave.metrics._agreement import (
    acc,
    ami,
    ari,
    completeness,
    fowlkes_mallows,
    homogeneity,
    nmi,
    v_measure,
)
from histoweave.metrics._autocorrelation import gearys_c, morans_i
from histoweave.metrics._continuity import chaos, dis, pas
from histoweave.metrics._lisi import clisi, ilisi
from histoweave.metrics._mixing import batch_entropy, batch_silhouette
from histoweave.metrics._mixing_table import mixing_table
from histoweave.metrics._silhouette import spatial_silhouette

__all__ = [
    "acc",
    "ami",
    "ari",
    "batch_entropy",
    "batch_silhouette",
    "chaos",
    "clisi",
    "completeness",
    "dis",
    "fowlkes_mallows",
    "gearys_c",
    "homogeneity",
    "ilisi",
    "mixing_table",
    "morans_i",
    "nmi",
    "pas",
    "spatial_silhouette",
    "v_measure",
]
