"""Loupe Browser: categories by barcode in a CSV file, for "Import categories"."""

from pathlib import Path
from typing import ClassVar

import pandas as pd

from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions

_MOST = 32_768  # groups of a category
NONE = "None"  # label of spots without one, if another column of theirs has one


class _Loupe:
    """Exporter to Loupe Browser (``Exporter``)."""

    label = "Loupe Browser"
    files = "<section>.csv: Barcode, then a category a column; <section>_umap.csv if there is a UMAP"
    needs: ClassVar[dict[str, str]] = {}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write labels and quartiles of chosen genes."""
        table = categories(section)
        for name, column in table.items():
            if column.nunique() > _MOST:
                raise ValueError(f"{name} of section {section.section.name!r} has more than {_MOST:,} groups.")
        table = table[table.notna().any(axis=1)].fillna(NONE)
        path = folder / f"{section.name}.csv"
        table.to_csv(path, index_label="Barcode", lineterminator="\n")
        paths = [path]
        if "X_umap" in section.adata.obsm:
            points = pd.DataFrame(section.adata.obsm["X_umap"][:, :2], index=section.barcodes, columns=["X", "Y"])
            paths.append(folder / f"{section.name}_umap.csv")
            points.to_csv(paths[-1], index_label="Barcode", float_format="%.4f", lineterminator="\n")
        return paths


LOUPE = _Loupe()


def categories(section: ExportedSection) -> pd.DataFrame:
    """Return a table of text, a row per barcode: labels, and quartiles of the chosen genes."""
    columns = {section.heading(key): section.labels(key) for key in section.keys}
    columns |= {gene: section.quartiles(gene) for gene in section.genes}
    return pd.DataFrame(
        {name: values.astype(object) for name, values in columns.items()}, index=pd.Index(section.barcodes)
    )
