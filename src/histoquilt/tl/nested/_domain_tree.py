"""Nested domains: coarser levels by merging domains, finer ones by splitting them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

import histoquilt
from histoquilt._base import Keys, MissingKey, argument, either, listed
from histoquilt.cluster import (
    DomainMerges,
    DomainMoments,
    level_stability,
    merge_domains,
    name_by_position,
    spatial_sample,
    split_domain,
    whitening,
)
from histoquilt.runtime import logger
from histoquilt.study import (
    as_categories,
    check_adata,
    check_obs_key,
    color_shades,
    domain_colors,
    domain_palette,
    provenance,
    spot_centres,
    write_result,
)
from histoquilt.tl._cluster import checked_embedding
from histoquilt.tl.nested._earlier import remove_levels

N_COMPONENTS = 15  # if the record of the domains does not say
_SAME = 1e-6  # distance in standard deviations below which two domains have one mean


def domain_tree(
    adata: AnnData | Sequence[AnnData] | Mapping[str, AnnData],
    *,
    domain_key: str = Keys.DOMAIN,
    use_rep: str = Keys.EMBEDDING,
    levels: Sequence[int] | None = None,
    fine: bool = True,
    n_resamples: int = 5,
    section_key: str | None = None,
    spatial_key: str = Keys.SPATIAL,
    seed: int = 0,
) -> None:
    """Nest domains: merge them pair by pair into coarser levels, and split each into finer parts.

    Labels are not changed. Coarser levels merge the two domains whose means are closest, by the Mahalanobis distance in
    the covariance within domains, which is computed again after each merge. The distance does not weigh sizes, so thin
    layers are not merged first. The finer level splits each domain by a mixture inside it, into the largest number of
    parts, up to four, that come back under resampling: mixtures fitted to two random halves of its spots (1,000 at
    most) agree on them by an adjusted Rand index of at least 0.8, in the mean over resamplings, and of at most 0.05
    less than that of other numbers of parts. The threshold is that of :func:`choose_n_domains`, and was checked on
    simulated tissue: 0 of 72 domains without parts were split (index 0.30 in the median, 0.66 at most), and 31 of 36
    pairs of domains given as one were. Every level refines the coarser ones exactly.

    Parameters
    ----------
    adata
        One or several sections in one AnnData, ``(n_spots, n_genes)``; or a list or dict of sections with domains and
        an embedding in common, as :func:`histoquilt.io.split_sections` returns them. One tree is made of all spots.
        ``obs[domain_key]`` holds the domains; unlabelled spots stay unlabelled. ``obsm[use_rep]`` holds the embedding.
    domain_key, use_rep
        Column of ``obs`` with the domains, with which the names of levels begin, and key in ``obsm`` of the embedding
        in which they were found.
    levels
        Numbers of domains of the coarser levels; by default all from 2 up.
    fine
        If true, also write the finer level, which takes some seconds.
    n_resamples
        Number of resamplings, each of two halves.
    section_key, spatial_key
        Column of ``obs`` that names sections, and key in ``obsm`` of spot centres: of more than 50,000 spots a domain
        is split on a sample spread evenly over them. Without spot centres larger parts come first.
    seed
        Random seed; results are reproducible with the same seed on the same machine.

    Returns
    -------
    ``None``. Adds to each AnnData:

    ``obs[f"{domain_key}_coarse_{n}"]`` : categorical, ``n`` domains; names list the members, as ``1+2``
    ``obs[f"{domain_key}_fine"]`` : categorical; parts of domain ``3`` are ``3.1``, ``3.2`` from top to bottom, and a
    domain without parts keeps its name
    ``uns[f"{key}_colors"]`` : colours of each level; a merged domain has that of its largest member, parts have shades
    ``uns["histoquilt"][f"{domain_key}_tree"]`` : dict of parameters and four DataFrames. ``levels``: ``key`` (column of
    ``obs``), ``n_domains``, ``stability`` and ``sd`` (adjusted Rand index of the level and the same level of refits on
    half of the spots, on the other half; of the finer level, that of the weakest domain that was split). ``nodes``:
    ``key``, ``name``, ``parent`` (its domain of the level before), ``color``, ``n_spots``. ``merges``: ``n_domains``,
    ``first``, ``second``, ``distance`` in standard deviations within domains. ``parts``: ``domain``, ``n_parts``,
    ``stability``.

    Raises
    ------
    KeyError
        The domains or the embedding are missing.
    ValueError
        No spot has a domain; a level is not below the number of domains; two domains have the same mean in the
        embedding; sections have embeddings of different width; or there is no resampling.
    TypeError
        A section is not an AnnData.

    See Also
    --------
    histoquilt.pl.domain_tree : dendrogram with a map at each level.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, n_domains=4, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=4, progress=False)
    >>> hq.tl.domain_tree(adata, fine=False)
    >>> adata.uns["histoquilt"]["domain_tree"]["levels"][["key", "n_domains"]].values.tolist()
    [['domain_coarse_2', 2], ['domain_coarse_3', 3], ['domain', 4]]
    """
    sections = _as_list(adata)
    if n_resamples < 1:
        raise ValueError(f"{argument('n_resamples')} must be at least 1, got {n_resamples}.")
    spots = _Spots.of(sections, domain_key, use_rep, section_key, spatial_key)
    numbers = _checked_levels(levels, len(spots.names))
    resampling = {"n_resamples": n_resamples, "seed": seed}
    merges = _merge(spots, seed)
    stability = level_stability(spots.embedding, spots.codes, merges, n_components=spots.n_components, **resampling)
    written = [_merged_level(spots, merges, f"{domain_key}_coarse_{number}", number) for number in numbers]
    rows = [(level.key, number, stability[number]) for level, number in zip(written, numbers, strict=True)]
    written.append(_Level(domain_key, spots.codes, spots.names, spots.colors))
    rows.append((domain_key, len(spots.names), stability[len(spots.names)]))
    parts = pd.DataFrame({"domain": [], "n_parts": [], "stability": []}).astype({"domain": str, "n_parts": int})
    if fine:
        level, parts = _split_level(spots, f"{domain_key}_fine", resampling)
        written.append(level)
        split = parts.loc[parts["n_parts"] > 1, "stability"]
        rows.append((level.key, len(level.names), np.array([split.min()])))
        logger.info("%d of %d domains have parts that come back.", len(split), len(spots.names))
    record = {
        "domain_key": domain_key, "use_rep": use_rep, **resampling, "version": histoquilt.__version__,
        "levels": pd.DataFrame(
            [(key, number, float(values.mean()), float(values.std())) for key, number, values in rows],
            columns=["key", "n_domains", "stability", "sd"],
        ),
        "nodes": _node_table(written),
        "merges": _merge_table(spots.names, merges),
        "parts": parts,
    }  # fmt: skip
    for section, own in zip(
        sections, np.split(np.arange(len(spots.codes)), np.cumsum(spots.lengths)[:-1]), strict=True
    ):
        _write(section, written, own, f"{domain_key}_tree", record)


@dataclass(frozen=True)
class _Level:
    """Labels of one level."""

    key: str  # column of obs
    codes: np.ndarray  # (n_spots,), -1 for unlabelled spots
    names: list[str]
    colors: list[str]


@dataclass(frozen=True)
class _Spots:
    """Spots of all sections."""

    lengths: list[int]  # number of spots of each section
    names: list[str]  # domains with spots
    colors: list[str]
    codes: np.ndarray  # (n_spots,), -1 for unlabelled spots
    embedding: np.ndarray
    spatial: np.ndarray | None
    sections: np.ndarray | None  # (n_spots,) section of each spot
    n_components: int  # principal components of the embedding in which domains were found

    @classmethod
    def of(
        cls, adatas: Sequence[AnnData], domain_key: str, use_rep: str, section_key: str | None, spatial_key: str
    ) -> "_Spots":
        """Collect domains, embedding and places; raise if they are missing or do not belong together."""
        for adata in adatas:
            check_adata(adata)
            for key, where, slot in ((domain_key, "adata.obs", adata.obs), (use_rep, "adata.obsm", adata.obsm)):
                if key not in slot:
                    remedy = either(
                        "Find domains first (histoquilt.tl.spatial_domains), or pass domain_key= and use_rep=.",
                        "Find domains first (histoquilt domains).",
                    )
                    raise MissingKey(key, where, slot, remedy)
        labels = [as_categories(adata, domain_key) for adata in adatas]
        names = list(dict.fromkeys(name for one in labels for name in one.categories))
        if len(adatas) > 1 and all(name.isdigit() for name in names):
            names.sort(key=int)
        colors = {**dict(zip(names, domain_palette(len(names)), strict=True)), **domain_colors(adatas[0], domain_key)}
        codes = np.concatenate([pd.Categorical(np.asarray(one), names).codes for one in labels]).astype(int)
        found = np.unique(codes[codes >= 0])
        if not len(found):
            raise ValueError(f"No spot has a domain in obs[{domain_key!r}]. Find domains first, or pass domain_key=.")
        embeddings = [checked_embedding(adata, 1, use_rep) for adata in adatas]
        if len(widths := {one.shape[1] for one in embeddings}) > 1:
            raise ValueError(
                f"obsm[{use_rep!r}] differs in width between sections ({listed(sorted(widths))}): "
                "their domains were not found together. Pass each on its own, or histoquilt.tl.integrate_sections."
            )
        places = [np.asarray(spot_centres(one, spatial_key), float)[:, :2] for one in adatas if spatial_key in one.obsm]
        known = len(places) == len(adatas) and all(np.isfinite(one).all() for one in places)
        sections = None
        if len(adatas) > 1:
            sections = np.repeat(np.arange(len(adatas)), [one.n_obs for one in adatas])
        elif section_key is not None:
            check_obs_key(adatas[0], section_key, argument="section_key")
            sections = adatas[0].obs[section_key].astype(str).to_numpy()
        return cls(
            lengths=[one.n_obs for one in adatas],
            names=[names[code] for code in found],
            colors=[color_shades(colors[names[code]], 1)[0] for code in found],
            codes=np.where(codes >= 0, np.searchsorted(found, codes), -1),
            embedding=embeddings[0] if len(adatas) == 1 else np.concatenate(embeddings),
            spatial=np.concatenate(places) if known else None,
            sections=sections,
            n_components=int(provenance(adatas[0]).get(domain_key, {}).get("n_components", N_COMPONENTS)),
        )


def _as_list(adata: Any) -> list[AnnData]:
    if isinstance(adata, AnnData):
        return [adata]
    sections = list(adata.values()) if isinstance(adata, Mapping) else list(adata)
    if not sections:
        raise ValueError("There is no section. Pass an AnnData, or a list or dict of them.")
    return sections


def _checked_levels(levels: Sequence[int] | None, n_domains: int) -> list[int]:
    """Return the numbers of domains of coarser levels, ascending."""
    if levels is None:
        return list(range(2, n_domains))
    beyond = [level for level in levels if level not in range(2, n_domains)]
    if beyond:
        room = f"from 2 to {n_domains - 1}" if n_domains > 2 else "none"
        raise ValueError(
            f"{argument('levels')} asks for {listed(beyond)} domains, beyond the tree: there are {n_domains} domains, "
            f"so coarser levels are {room}. Ask for more domains, or take the finer level (fine=True)."
        )
    return sorted(set(map(int, levels)))


def _merge(spots: _Spots, seed: int) -> DomainMerges:
    """Merge the domains down to one; raise if two have one mean."""
    sample = spatial_sample(len(spots.codes), spots.spatial, spots.sections, seed=seed)
    center, axes = whitening(spots.embedding if sample is None else spots.embedding[sample], spots.n_components)
    merges = merge_domains(DomainMoments.of(spots.embedding, spots.codes, center, axes))
    same = [number for number, distance in merges.distances.items() if distance < _SAME]
    if same:
        n_different = min(same)
        raise ValueError(
            f"The {len(spots.names)} domains cannot be distinguished in the embedding at any level: at most "
            f"{n_different} of their means differ. Pass the embedding in which they were found as use_rep=, or ask for "
            "fewer domains."
        )
    return merges


def _merged_level(spots: _Spots, merges: DomainMerges, key: str, number: int) -> _Level:
    of_domain = merges.of_level[number]
    sizes = np.bincount(spots.codes[spots.codes >= 0], minlength=len(spots.names))
    members = [np.flatnonzero(of_domain == code) for code in range(number)]
    return _Level(
        key=key,
        codes=np.where(spots.codes >= 0, of_domain[spots.codes], -1),
        names=["+".join(spots.names[code] for code in some) for some in members],
        colors=[spots.colors[some[sizes[some].argmax()]] for some in members],
    )


def _split_level(spots: _Spots, key: str, resampling: dict[str, int]) -> tuple[_Level, pd.DataFrame]:
    """Split every domain into parts, named from top to bottom; return the level and a table of the domains."""
    codes = np.full(len(spots.codes), -1)
    names: list[str] = []
    colors: list[str] = []
    table = []
    for code, (name, color) in enumerate(zip(spots.names, spots.colors, strict=True)):
        rows = np.flatnonzero(spots.codes == code)
        spatial = None if spots.spatial is None else spots.spatial[rows]
        sections = None if spots.sections is None else spots.sections[rows]
        sample = spatial_sample(len(rows), spatial, sections, seed=resampling["seed"])
        parts = split_domain(spots.embedding[rows], sample=sample, **resampling)
        named = name_by_position(parts.labels, spatial)
        n_parts = len(named.categories)
        codes[rows] = named.codes + len(names)
        names += [f"{name}.{part}" for part in named.categories] if n_parts > 1 else [name]
        colors += color_shades(color, n_parts)
        table.append((name, n_parts, parts.stability))
    return _Level(key, codes, names, colors), pd.DataFrame(table, columns=["domain", "n_parts", "stability"])


def _node_table(levels: list[_Level]) -> pd.DataFrame:
    """Return a table of the domains of all levels, from coarse to fine, each with its domain of the level before."""
    tables = []
    for number, level in enumerate(levels):
        found, first, n_spots = np.unique(level.codes, return_index=True, return_counts=True)
        kept = found >= 0  # every name has spots
        above = levels[number - 1]
        parents = [above.names[code] for code in above.codes[first[kept]]] if number else [""] * len(level.names)
        columns = {"key": level.key, "name": level.names, "parent": parents, "color": level.colors}
        tables.append(pd.DataFrame({**columns, "n_spots": n_spots[kept]}))
    return pd.concat(tables, ignore_index=True)


def _merge_table(names: list[str], merges: DomainMerges) -> pd.DataFrame:
    """Return a table of merges, in their order."""
    rows = []
    for number in sorted(merges.distances, reverse=True):
        before, after = merges.of_level[number + 1], merges.of_level[number]
        pair = next(
            pair for code in range(number) if len(pair := np.unique(before[after == code])) == 2
        )  # the two domains of the level before that became one
        first, second = ("+".join(np.array(names)[before == code]) for code in pair)
        rows.append((number, first, second, merges.distances[number]))
    return pd.DataFrame(rows, columns=["n_domains", "first", "second", "distance"])


def _write(adata: AnnData, levels: list[_Level], rows: np.ndarray, tree_key: str, record: dict[str, Any]) -> None:
    """Write the levels of one section, and remove those of an earlier tree."""
    remove_levels(adata, tree_key)
    for level in levels:
        if level.key == record["domain_key"]:  # as it was
            continue
        values = pd.Categorical.from_codes(level.codes[rows], categories=pd.Index(level.names, dtype=object))
        write_result(adata, "obs", level.key, values)
        write_result(adata, "uns", f"{level.key}_colors", np.array(level.colors, dtype=object))
    provenance(adata)[tree_key] = {
        name: value.copy() if isinstance(value, pd.DataFrame) else value for name, value in record.items()
    }
