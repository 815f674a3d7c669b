"""``--denoise``: which denoised expression ``histoquilt domains`` writes; of a large section all of it is gigabytes."""

import warnings
from typing import TYPE_CHECKING

from histoquilt._base import Keys
from histoquilt.cli._errors import CommandError
from histoquilt.runtime import logger

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.models import DomainModel

_BEST = 5  # markers of each domain, as many as the report names
_ALL_GENES = 50_000  # spots up to which all modelled genes are denoised; of more the file would be gigabytes

Denoise = bool | str | list[str]  # as the library takes it, or "markers" or "auto"


def parse_denoise(text: str, *, integrated: bool, use_rep: str | None) -> Denoise:
    """Read ``--denoise``; raises where it cannot be done.

    Examples
    --------
    >>> parse_denoise("MBP, SNAP25", integrated=True, use_rep=None)
    ['MBP', 'SNAP25']
    """
    known: dict[str, Denoise] = {"auto": "auto", "markers": "markers", "all": True, "none": False}
    asked = known.get(text.strip().lower())
    if asked is None:
        asked = [gene.strip() for gene in text.split(",") if gene.strip()]
    if asked == []:
        raise CommandError("--denoise is all, markers, none, auto or genes by name (MBP,SNAP25), got nothing.")
    if asked == "markers" and integrated:
        raise CommandError("--denoise markers is for sections on their own. Of a study name the genes, or say all.")
    if asked == "auto":
        return False if integrated or use_rep is not None else asked
    if asked is not False and use_rep is not None:
        raise CommandError(f"--use-rep replaces the genes, so nothing can be denoised. Leave --denoise {text} out.")
    return asked


def for_section(denoise: Denoise, adata: "AnnData") -> Denoise:
    """Decide what ``auto`` means for a section."""
    if denoise != "auto":
        return denoise
    if adata.n_obs <= _ALL_GENES:
        return True
    logger.info("%s spots: only the best markers are denoised; --denoise all takes all genes.", f"{adata.n_obs:,}")
    return "markers"


def denoise_markers(adata: "AnnData", model: "DomainModel") -> None:
    """Write the denoised expression of the best modelled markers of every domain."""
    from histoquilt.study import declare_scale, write_result

    modelled = set(model.genes)
    markers = adata.uns[Keys.MARKERS]
    best = markers[markers["gene"].isin(modelled)].groupby("domain", sort=False)["gene"].head(_BEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said while the model was fitted
        denoised = model.denoise(adata, list(dict.fromkeys(best)))
    write_result(adata, "obsm", Keys.DENOISED, denoised)
    declare_scale(adata, Keys.DENOISED, "log1p_cp10k")
