"""Toy task in the layout of HEST-Bench."""

import json
from os import PathLike
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from histoquilt._base import Keys
from histoquilt.datasets._slide import toy_slides
from histoquilt.study import provenance

PATCH_PX, FIELD_UM, N_TARGETS, _N_DOMAINS = 224, 112.0, 50, 3
_PAINTED_MPP = 2.0  # coarser than the patches, which are enlarged: painting is what takes time


def toy_hest_task(
    folder: str | PathLike[str], n_sections: int = 4, n_spots: int = 80, n_genes: int = 80, seed: int = 0
) -> Path:
    """Write a task of toy tissue in the layout of HEST-Bench, for :func:`histoquilt.jobs.evaluate_models`.

    The sections are those of :func:`toy_slides`, each of another patient; every split holds one of them out. The genes
    are the 50 of highest variance of log1p counts.

    Parameters
    ----------
    folder
        Path of the task, made if it does not exist; its name is the beginning of the names of sections.
    n_sections, n_spots, n_genes, seed
        As in :func:`toy_slides`; at least two sections and 50 genes.

    Returns
    -------
    The folder: ``splits/train_0.csv``, ``splits/test_0.csv``, ..., ``var_50genes.json``, ``adata/ID.h5ad`` and
    ``patches/ID.h5`` (``img``, ``coords``, ``barcode``).

    Raises
    ------
    ValueError
        There are too few sections or genes, or as in :func:`toy_slides`.

    Examples
    --------
    >>> folder = toy_hest_task(getfixture("tmp_path") / "TOY", n_sections=2, n_spots=60)
    >>> sorted(path.name for path in folder.iterdir())
    ['adata', 'patches', 'splits', 'var_50genes.json']
    """
    if n_sections < 2 or n_genes < N_TARGETS:
        raise ValueError(f"A task needs 2 sections and {N_TARGETS} genes, got {n_sections} and {n_genes}.")
    folder = Path(folder)
    for part in ("splits", "adata", "patches"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names, spread = [], np.zeros(n_genes)
    for number, (adata, image) in enumerate(
        toy_slides(n_sections, n_spots, n_genes, _N_DOMAINS, seed, mpp=_PAINTED_MPP).values(), start=1
    ):
        names.append(f"{folder.name}{number}")
        spread += np.log1p(adata.X.toarray()).var(axis=0)
        adata.obs = adata.obs.drop(columns=[Keys.SECTION, "z_um"]).assign(patient=f"patient {number}")
        scale = _PAINTED_MPP * PATCH_PX / FIELD_UM  # of the image to 0.5 um per pixel
        adata.obsm[Keys.SPATIAL] = adata.obsm[Keys.SPATIAL] * scale
        del provenance(adata)[Keys.COORDINATES], adata.uns[Keys.SPATIAL]
        corners = (adata.obsm[Keys.SPATIAL] - PATCH_PX // 2).astype(int)
        with h5py.File(folder / "patches" / f"{names[-1]}.h5", "w") as opened:
            opened["img"] = np.stack([_cut(image, corner / scale, PATCH_PX / scale) for corner in corners])
            opened["coords"] = corners
            opened["barcode"] = np.array(adata.obs_names, dtype="S")[:, None]
        adata.write_h5ad(folder / "adata" / f"{names[-1]}.h5ad")
    genes = [str(adata.var_names[place]) for place in np.sort(np.argsort(-spread, kind="stable")[:N_TARGETS])]
    (folder / "var_50genes.json").write_text(json.dumps({"genes": genes}))
    for split, held_out in enumerate(names):
        for side, members in (("train", [name for name in names if name != held_out]), ("test", [held_out])):
            rows = [f"{name},patches/{name}.h5,adata/{name}.h5ad" for name in members]
            lines = ["sample_id,patches_path,expr_path", *rows]
            (folder / "splits" / f"{side}_{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


def _cut(image: np.ndarray, corner: np.ndarray, side: float) -> np.ndarray:
    """Return a square of the image, enlarged to a patch; white outside the image."""
    whole = np.floor(corner)
    left, top = corner - whole
    padded = Image.new("RGB", (int(side) + 2, int(side) + 2), "white")
    padded.paste(Image.fromarray(image), (-int(whole[0]), -int(whole[1])))
    return np.asarray(padded.resize((PATCH_PX, PATCH_PX), box=(left, top, left + side, top + side)))
