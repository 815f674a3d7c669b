"""Simulated study with image embeddings and a single known signal in the expression."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.stats import ortho_group

from histoquilt._base import Keys
from histoquilt.datasets._anatomy import PITCH_UM
from histoquilt.datasets._expression import gene_names
from histoquilt.datasets._section import check_integers
from histoquilt.study import declare_scale, provenance

Kind = Literal["references", "pairing", "both"]

N_CODE = 8  # directions of the embedding that hold the code of the prototype
N_SIGNAL = 4  # directions that expression follows smoothly
SPOTS_PER_PROTOTYPE = 3  # in one section
SIGNAL_SD, REST_SD = 0.7, 0.02
PROTOTYPE_LOG_SD, SIGNAL_LOG_SD = 0.8, 0.6  # of a gene's log-mean
COUNTS_PER_GENE = 12.0
DEPTH_LOG_SD = 0.25
MIN_SPOTS, MIN_GENES, MIN_FEATURES = 30, 4, 16


@dataclass(frozen=True)
class _Recipe:
    """Contents of the embedding, in units of the prototypes' codes unless absolute."""

    code_length: float = 0.0  # length of a prototype's code, absolute
    gap: float = 0.0  # between the two prototypes of a pair
    code_noise: float = 0.0  # from spot to spot, in each direction
    has_signal: bool = False
    nuisance_sd: float = 0.0  # absolute, in each uninformative direction


RECIPES = {
    "references": _Recipe(code_length=1.0, gap=0.15, code_noise=0.015),
    "pairing": _Recipe(has_signal=True, nuisance_sd=4.0),
    # codes long enough to dominate retrieval in spite of the nuisance
    "both": _Recipe(code_length=18.0, gap=0.6, code_noise=0.02, has_signal=True, nuisance_sd=1.4),
}


def paired_study(
    n_sections: int = 4,
    n_spots: int = 150,
    n_genes: int = 60,
    seed: int = 0,
    *,
    kind: Kind = "references",
    n_features: int = 32,
) -> dict[str, AnnData]:
    """Simulate sections with counts and an image embedding, to test how models predict expression from H&E.

    Spots are placed at random, so that neighbours are uninformative, and sections differ only by chance and depth.

    ``"references"``
        Every spot shows one of ``n_spots // 3`` prototypes, and the embedding its code. Prototypes come in pairs with
        similar codes and opposite expression, so that expression is not a smooth function of the embedding: it has to
        be looked up at spots of other sections that look the same.
    ``"pairing"``
        Expression follows four directions of the embedding, which are small compared with the uninformative ones, and
        have to be learnt from pairs of image and counts.
    ``"both"``
        Every other gene follows prototypes, the rest the four directions. Similarity of spots is dominated by the
        prototype, then by the uninformative directions.

    Mean correlation over genes between log1p of counts per 10,000 and the prediction for the last of four sections,
    mean of seeds 0 to 4 (in ``"both"``, genes that follow prototypes / directions):

    =================================  ==============  ===========  ===========
    predictor                          ``references``  ``pairing``  ``both``
    =================================  ==============  ===========  ===========
    expression without counting noise  .80             .77          .81 / .77
    ridge on the embedding             .03             .67          .10 / .64
    9 nearest in the embedding         .70             .03          .76 / .05
    9 nearest in what ridge predicts   .18             .68          .19 / .61
    each of the three, pairs shuffled  -.01 to .01     -.03 to .01  -.04 to .01
    =================================  ==============  ===========  ===========

    Parameters
    ----------
    n_sections, n_spots, n_genes
        Numbers of sections, of spots in each and of genes; at least 2, 30 and 4.
    seed
        Random seed; the global random state is neither used nor changed.
    kind
        Signal that determines the expression, as listed above.
    n_features
        Width of the embedding, at least 16.

    Returns
    -------
    dict from ``s1``, ``s2``, ... to one AnnData each, with the same genes:

    `X` : raw counts, CSR float32
    `obs["section"]`, `obs["patient"]` : categorical; every section comes from a different patient
    `obs["prototype"]` : int64, prototype that the spot shows; -1 in ``"pairing"``
    `obsm["X_image"]` : float32 ``(n_spots, n_features)``
    `obsm["spatial"]` : float64 ``(x, y)`` in microns, a square lattice with 100 µm between neighbours
    `layers["expected"]` : float32, mean of the counts at a depth common to all spots
    `var["follows"]` : categorical, ``prototype`` or ``direction``
    `uns["histoquilt"]["scale"]` : ``X`` holds ``counts``
    `uns["histoquilt"]["coordinates"]` : ``unit`` micron, ``mpp`` 1, ``pitch_um`` 100

    Raises
    ------
    TypeError, ValueError
        A size or the seed is not a whole number or too small, or the kind is unknown.

    Examples
    --------
    >>> study = paired_study(n_sections=3, kind="pairing")
    >>> list(study), study["s1"].shape, study["s1"].obsm["X_image"].shape
    (['s1', 's2', 's3'], (150, 60), (150, 32))
    """
    check_integers(n_sections=n_sections, n_spots=n_spots, n_genes=n_genes, n_features=n_features, seed=seed)
    for name, value, smallest in (
        ("n_sections", n_sections, 2), ("n_spots", n_spots, MIN_SPOTS), ("n_genes", n_genes, MIN_GENES),
        ("n_features", n_features, MIN_FEATURES), ("seed", seed, 0),
    ):  # fmt: skip
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}, got {value}.")
    if kind not in get_args(Kind):
        raise ValueError(f"Unknown kind {kind!r}; known are {', '.join(get_args(Kind))}.")
    rng = np.random.default_rng([seed, 0])
    recipe = RECIPES[kind]
    has_code = recipe.code_length > 0
    follows_code = has_code & (~np.full(n_genes, recipe.has_signal) | (np.arange(n_genes) % 2 == 0))
    n_prototypes = n_spots // SPOTS_PER_PROTOTYPE
    base = rng.normal(0, 0.7, n_genes)
    codes, book = _draw_prototypes(n_prototypes, n_genes, recipe.gap, rng)
    loadings = rng.normal(size=(N_SIGNAL, n_genes))
    loadings *= SIGNAL_LOG_SD / np.linalg.norm(loadings, axis=0)
    rotation = ortho_group.rvs(n_features, random_state=rng)
    names = gene_names(n_genes, rng)

    study = {}
    for section in range(n_sections):
        rng = np.random.default_rng([seed, 1 + section])
        prototype = rng.permutation(np.arange(n_spots) % n_prototypes)
        signal = rng.normal(size=(n_spots, N_SIGNAL))
        log_mean = base + np.where(follows_code, book[prototype], signal @ loadings)
        parts = rng.normal(0, REST_SD, (n_spots, n_features))
        if has_code:
            shown = codes[prototype] + rng.normal(0, recipe.code_noise, (n_spots, N_CODE))
            parts[:, :N_CODE] += recipe.code_length * shown
        if recipe.has_signal:
            parts[:, N_CODE : N_CODE + N_SIGNAL] += SIGNAL_SD * signal
            n_nuisance = n_features - N_CODE - N_SIGNAL
            parts[:, N_CODE + N_SIGNAL :] += rng.normal(0, recipe.nuisance_sd, (n_spots, n_nuisance))
        study[f"s{section + 1}"] = _assemble(
            f"s{section + 1}", log_mean, parts @ rotation, np.where(has_code, prototype, -1), rng
        )
    for adata in study.values():
        adata.var_names = names
        adata.var["follows"] = pd.Categorical(np.where(follows_code, "prototype", "direction"))
    return study


def _draw_prototypes(
    n_prototypes: int, n_genes: int, gap: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes (n_prototypes, N_CODE) and log-means (n_prototypes, n_genes); pairs have opposite log-means."""
    n_pairs = -(-n_prototypes // 2)
    middle, apart = rng.normal(size=(2, n_pairs, N_CODE))
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    apart *= gap / 2 / np.linalg.norm(apart, axis=1, keepdims=True)
    values = rng.normal(0, PROTOTYPE_LOG_SD, (n_pairs, n_genes))
    codes, book = np.stack([middle - apart, middle + apart], axis=1), np.stack([-values, values], axis=1)
    return codes.reshape(-1, N_CODE)[:n_prototypes], book.reshape(-1, n_genes)[:n_prototypes]


def _assemble(
    name: str, log_mean: np.ndarray, embedding: np.ndarray, prototype: np.ndarray, rng: np.random.Generator
) -> AnnData:
    n_spots, n_genes = log_mean.shape
    mean = np.exp(log_mean)
    mean *= COUNTS_PER_GENE * n_genes / mean.sum(axis=1, keepdims=True)
    depth = np.exp(rng.normal(0, DEPTH_LOG_SD, (n_spots, 1)))
    obs = pd.DataFrame(
        {
            Keys.SECTION: pd.Categorical([name] * n_spots),
            Keys.PATIENT: pd.Categorical([f"patient_of_{name}"] * n_spots),
            "prototype": prototype.astype(np.int64),
        },
        index=[f"{name}_spot{spot + 1:0{len(str(n_spots))}d}" for spot in range(n_spots)],
    )
    adata = AnnData(X=csr_matrix(rng.poisson(mean * depth).astype(np.float32)), obs=obs)
    adata.layers["expected"] = mean.astype(np.float32)
    side = int(np.ceil(np.sqrt(n_spots)))
    row, column = np.divmod(np.arange(n_spots), side)
    adata.obsm[Keys.SPATIAL] = np.stack([column, row], axis=1) * PITCH_UM
    adata.obsm["X_image"] = embedding.astype(np.float32)
    declare_scale(adata, "X", "counts")
    provenance(adata)[Keys.COORDINATES] = {"unit": "micron", "mpp": 1.0, "pitch_um": PITCH_UM}
    return adata
