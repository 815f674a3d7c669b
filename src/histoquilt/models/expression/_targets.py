"""What expression models learn to predict: log1p of counts per 10,000 of a panel chosen on training sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt._base import listed
from histoquilt.study import Section, ordinary_zeros


class MissingCountsError(ValueError):
    """Too few training sections have the raw counts that a model needs.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section, declare_scale
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> for name, adata in study.items():
    ...     adata.X = hq.models.measure(Section(name, adata)).values
    ...     declare_scale(adata, "X", "log1p_cp10k")
    >>> try:
    ...     hq.models.CountRegression().fit(study, use_rep="X_image")
    ... except hq.models.MissingCountsError as error:
    ...     print(str(error).partition(",")[0])
    CountRegression learns from raw counts
    """


@dataclass(frozen=True)
class Measured:
    """Expression of one section.

    Attributes
    ----------
    values
        ``(n_spots, n_genes)`` CSR float32, log1p of counts per 10,000 over all genes of the section.
    genes
        Names, in the order of the columns.
    depth
        Total counts of every spot, ``(n_spots,)``; ``None`` where a normalised matrix was given.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section
    >>> adata = hq.datasets.toy_section(n_spots=100, n_genes=50, n_domains=2, seed=0)
    >>> measured = hq.models.measure(Section("s1", adata))
    >>> measured.values.shape, measured.of(measured.genes[:3]).shape, measured.depth.shape
    ((100, 50), (100, 3), (100,))
    """

    values: csr_matrix
    genes: list[str]
    depth: np.ndarray | None

    def of(self, genes: Sequence[str]) -> np.ndarray:
        """Return the columns of some genes, ``(n_spots, n_genes)`` float32."""
        place = {gene: number for number, gene in enumerate(self.genes)}
        return self.values[:, [place[gene] for gene in genes]].toarray()


def measure(section: Section) -> Measured:
    """Normalise a section to log1p of counts per 10,000 over all its genes; the result is cached in the section.

    A matrix declared ``log1p_cp10k`` is returned unchanged.

    Raises
    ------
    KeyError, ValueError
        As :func:`histoquilt.pp.expression`.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from anndata import AnnData
    >>> from histoquilt.study import Section
    >>> adata = AnnData(np.float32([[1, 3], [2, 0]]), obsm={"spatial": np.array([[0, 0], [1, 0]])})
    >>> hq.models.measure(Section("s1", adata)).values.toarray().round(2)  # log1p of 2,500, 7,500 and 10,000
    array([[7.82, 8.92],
           [9.21, 0.  ]], dtype=float32)
    """
    return section.once(("expression", "measured"), lambda: _measure(section))


def _measure(section: Section) -> Measured:
    with ordinary_zeros():  # the panel is chosen below
        found = section.expression
    depth = None if found.scale != "counts" else np.asarray(found.in_memory.sum(axis=1)).ravel()
    return Measured(found.normalised(), found.genes, depth)


def choose_panel(measured: Mapping[str, Measured], n_genes: int) -> list[str]:
    """Choose the genes to predict: the union of those of highest mean and those of highest variance.

    Only genes that all sections measured are candidates. Means and variances are taken inside each section and averaged
    over sections, so that a large section counts as much as a small one, and differences between sections make no
    gene variable.

    Parameters
    ----------
    measured
        Training sections.
    n_genes
        Number of genes of each kind; the panel has between ``n_genes`` and twice as many.

    Returns
    -------
    Gene names in alphabetical order, independent of the order of sections.

    Raises
    ------
    ValueError
        The sections share no gene.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> values = csr_matrix(np.float32([[5, 0, 1, 0], [5, 4, 1, 0]]))  # a has the highest mean, b varies most
    >>> hq.models.choose_panel({"s1": hq.models.Measured(values, ["a", "b", "c", "d"], None)}, n_genes=1)
    ['a', 'b']
    """
    shared = _shared(measured)
    means = np.mean([_moments(one.values)[0][_places(one, shared)] for one in measured.values()], axis=0)
    variances = np.mean([_moments(one.values)[1][_places(one, shared)] for one in measured.values()], axis=0)
    # ties are broken by name: stable sorting of names that are in alphabetical order
    chosen = {int(i) for score in (means, variances) for i in np.argsort(-score, kind="stable")[:n_genes]}
    return [shared[i] for i in sorted(chosen)]


def check_panel(measured: Mapping[str, Measured], genes: Sequence[str]) -> list[str]:
    """Check that every training section measured the genes of a requested panel, and return it.

    Raises
    ------
    ValueError
        No gene is named, one is named twice, or a section lacks some.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> measured = {"s1": hq.models.Measured(csr_matrix(np.ones((2, 3))), ["a", "b", "c"], None)}
    >>> hq.models.check_panel(measured, ["c", "a"])
    ['c', 'a']
    >>> hq.models.check_panel(measured, ["a", "d"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: Section 's1' has not measured 1 of the 2 genes asked for: 'd' (it has 3: 'a', 'b', ...
    """
    panel = [str(gene) for gene in genes]
    if not panel or len(set(panel)) < len(panel):
        repeated = sorted({gene for gene in panel if panel.count(gene) > 1})
        raise ValueError(
            f"genes= must name at least one gene, each once (repeated: {listed(repeated)}). Leave it out to let the "
            "training sections choose."
        )
    for name, one in measured.items():
        known = set(one.genes)
        missing = [gene for gene in panel if gene not in known]
        if missing:
            raise ValueError(
                f"Section {name!r} has not measured {len(missing)} of the {len(panel)} genes asked for: "
                f"{listed(missing, 5)} (it has {len(known):,}: {listed(one.genes, 3)}). Name genes that all training "
                "sections share, as they are named in var_names."
            )
    return panel


def _shared(measured: Mapping[str, Measured]) -> list[str]:
    shared = set.intersection(*(set(one.genes) for one in measured.values()))
    if not shared:
        examples = "; ".join(f"{name}: {listed(one.genes, 2)}" for name, one in measured.items())
        raise ValueError(
            f"The {len(measured)} training sections share no gene ({examples}). Name genes alike in all of them: "
            "histoquilt.io.annotate_genes shows what the names are."
        )
    return sorted(shared)


def _places(one: Measured, genes: list[str]) -> np.ndarray:
    place = {gene: number for number, gene in enumerate(one.genes)}
    return np.array([place[gene] for gene in genes])


def _moments(values: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every gene over spots, in double precision."""
    exact = values.astype(np.float64)
    mean = np.asarray(exact.mean(axis=0)).ravel()
    return mean, np.asarray(exact.power(2).mean(axis=0)).ravel() - mean**2
