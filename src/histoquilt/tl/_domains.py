"""Domains of a section in one call."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from histoquilt._base import DOMAIN_MODELS, Keys, PatchEncoder, argument, either
from histoquilt.io import check_one_section, declare_one_section
from histoquilt.models import DomainModel, FeatureModel, ImageRole, ImageUse, Made, ModelConfig, SharedFactors
from histoquilt.runtime import stage
from histoquilt.study import Section, Slots, Study, check_adata, check_obs_key, check_spatial
from histoquilt.tl._domains_of_model import Clustering, DomainSearch, NumberOfDomains, Refinement, check_search
from histoquilt.tl._memory import Job, check_memory_suffices

if TYPE_CHECKING:
    import torch


def spatial_domains(
    adata: AnnData,
    n_domains: NumberOfDomains = None,
    *,
    config: ModelConfig | None = None,
    model: DomainModel | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    image: ImageRole | None = None,
    image_key: str | Sequence[str] | None = None,
    encoder: str | PatchEncoder | None = None,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    one_section: bool = False,
    refine: Refinement = True,
    clustering: Clustering = "mixture",
    denoise: bool | Sequence[str] = True,
    key_added: str = Keys.DOMAIN,
    embedding_key: str = Keys.EMBEDDING,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: bool = True,
    copy: bool = False,
    check_memory: bool = True,
) -> AnnData | None:
    """Find the regions of a tissue: features, embedding, mixture clustering, refinement.

    Parameters
    ----------
    adata
        One section, ``(n_spots, n_genes)``; raw counts in ``layers["counts"]`` or ``X``, or a matrix declared
        ``log1p_cp10k`` in ``uns["histoquilt"]["scale"]``; ``obsm[spatial_key]`` holds spot centres.
        ``X`` is not changed.
    n_domains
        Number of domains, exactly; a range to search, ``(5, 12)``; or ``None`` to search from 2 to 15
        (:func:`choose_n_domains`).
    config
        Settings of one of histoquilt's models, which is then used; by default
        :class:`histoquilt.models.SharedFactorsConfig`.
    model
        Untrained model to use instead of ``config``: any :class:`histoquilt.models.DomainModel`, for example
        :class:`histoquilt.models.SpaMask`. Afterwards it is trained and has the domains, so it can be saved and
        applied to other sections (:meth:`histoquilt.models.FeatureModel.assign_domains`).
    layer
        Layer with the expression.
    use_rep
        Embedding in ``obsm`` that replaces the features made from genes, e.g. ``"X_pca"``; nothing can be denoised
        then. A *finished* embedding goes to :func:`cluster_mixture` directly.
    image
        Use of the H&E image, ``None`` for no use. ``"edges"`` weighs the links of the graph by the similarity of the
        image around the spots, ``"features"`` joins image features to those of the genes, ``"only"`` finds domains in
        the image without genes (:doc:`/image`). The choice is entered in the config of ``model``.
    image_key
        Embedding or embeddings of the image in ``obsm``. By default that of :func:`histoquilt.im.embed_patches` whose
        field is nearest to the spot distance; if there is none, the image that the section knows
        (:func:`histoquilt.io.attach_image`, the column ``image`` of a ``samples.csv``, else ``uns["spatial"]``) is
        embedded, and the embedding written to ``obsm``.
    encoder
        Image encoder for that, a name (:func:`histoquilt.im.list_encoders`) or an object; ``"he_texture"`` by default.
    spatial_key
        Key in ``obsm`` of the spot centres.
    section_key
        Column of ``obs`` that distinguishes sections; spots of two sections are never neighbours.
    one_section
        If true, all spots are one section, even if columns of ``obs`` suggest several
        (:func:`histoquilt.io.check_one_section`).
    refine
        If true or ``"majority"``, single spots take the label of their surroundings (:func:`refine_domains`);
        ``"potts"``: a Potts field weighs the expression of a spot against its neighbours (:func:`refine_by_potts`).
    clustering
        ``"mixture"``: a mixture with a Gaussian for each domain. ``"merge"``: mixtures with 3 to 15 Gaussians more than
        domains are merged to ``n_domains``, each with at least 3 % of the spots, and combined; for tissue that one
        domain dominates, which a mixture cuts into equal pieces. Neither is better in general, and no rule without
        labels tells which; the labels of the mixture are written, too.
    denoise
        If true, write denoised expression of the modelled genes; or names of the genes to write.
    key_added, embedding_key
        Column of ``obs`` for the domains, and key in ``obsm`` for the embedding.
    seed
        Random seed; results are reproducible with the same seed on the same machine.
    device
        Device on which the model is trained; ``"auto"`` uses a GPU if available.
    progress
        If true, show a progress bar on stderr.
    copy
        If true, return a copy with the results and do not change ``adata``.
    check_memory
        If true, raise if more memory is needed than available (on Linux, with the limits of containers and job
        schedulers; other systems do not report it).

    Returns
    -------
    ``None``, or the copy. Adds to ``adata``:

    ``obs[key_added]`` : categorical, "1" to "k" from the top of the tissue to the bottom
    ``obs[f"{key_added}_confidence"]`` : float, 0 to 1, posterior probability of the domain; in the mean over
    networks where the config asks for several
    ``obs[f"{key_added}_mixture"]`` : with ``clustering="merge"``, the domains of the mixture, under the names of those
    that they overlap most; their adjusted Rand index is ``uns["histoquilt"][key_added]["agreement_with_mixture"]``
    ``obsm[embedding_key]`` : float32 ``(n_spots, n_latent)``
    ``obsm["denoised"]`` : DataFrame, log1p of counts per 10,000, modelled genes
    ``obsp["spatial_connectivities"]``, ``obsp["spatial_distances"]``, ``uns["spatial_neighbors"]`` : the graph; with
    ``image="edges"`` the connectivities are weights of mean 1
    ``uns["histoquilt"]["shared_factors"]`` : config, seed, version, facts of training; under the name of the method
    ``uns["histoquilt"][key_added]`` : parameters of the clustering

    Raises
    ------
    KeyError
        A key is missing, a gene named in ``denoise`` is not there or was not modelled, or there is no image to use.
    ValueError
        ``n_domains`` is less than 1 or more than there are spots; coordinates are not finite or all equal; the
        expression is neither raw counts nor declared; genes are named in ``denoise`` together with ``use_rep``; fewer
        domains can be distinguished than requested; more memory is needed than available; there are several
        sections in one frame, and no ``section_key``; the spots do not lie on the image; an image embedding holds NaN
        or is the same everywhere; or the model cannot use an image in this way.

    See Also
    --------
    histoquilt.models.SharedFactors : the model itself, to save, load and denoise with.
    histoquilt.models.SpaMask : the masked graph autoencoder.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, n_domains=4, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=4, progress=False)
    >>> adata.obs["domain"].cat.categories.tolist()
    ['1', '2', '3', '4']
    """
    check_adata(adata)
    check_search(n_domains, clustering, refine, adata.n_obs)
    check_spatial(adata, spatial_key)
    model = fresh_model(model, config)
    image_use = ImageUse.of(image, image_key, encoder, model=model, use_rep=use_rep)
    if section_key is not None:
        check_obs_key(adata, section_key, argument="section_key")
    elif not one_section:
        check_one_section(adata, spatial_key=spatial_key, remedy="argument")
    new = None if image_use is None else image_use.configure(_sections(adata, spatial_key, section_key), model)
    genes = genes_to_denoise(adata, denoise, use_rep, model)
    if check_memory and isinstance(model, FeatureModel):
        several = section_key is not None
        check_memory_suffices(Job.of(adata, model, layer=layer, use_rep=use_rep, several=several, genes=genes))
    adata = adata.copy() if copy else adata
    if one_section:
        declare_one_section(adata)
    if new is not None:
        new.write(adata, progress=progress)
    with stage("graph"):
        graph = model.graph(adata, spatial_key=spatial_key, section_key=section_key)
    search = DomainSearch(
        model=model, n_domains=n_domains, genes=genes, layer=layer, use_rep=use_rep, refine=refine,
        clustering=clustering, key_added=key_added, embedding_key=embedding_key, seed=seed,
        device=device, progress=progress,
    )  # fmt: skip
    search.run(adata, Made(graph), spatial_key=spatial_key, section_key=section_key)
    graph.write(adata)
    return adata if copy else None


def _sections(adata: AnnData, spatial_key: str, section_key: str | None) -> Mapping[str, Section]:
    """Return the sections of an AnnData by name; a single one has none."""
    if section_key is None:
        return {"": Section("", adata, Slots(spatial_key))}
    return Study.of(adata, Slots(spatial_key, section_key))


def fresh_model(model: DomainModel | None, config: ModelConfig | None) -> DomainModel:
    """Return the given model, or a new one with the given settings; raise if the two disagree."""
    if model is None:
        kinds: list[type[DomainModel]] = [DOMAIN_MODELS.load(name) for name in DOMAIN_MODELS.ours()]
        kind = next((kind for kind in kinds if type(config) is kind.config_class), SharedFactors)
        return kind(config)
    if not isinstance(model, DomainModel):
        raise TypeError(f"model= must be a histoquilt.models.DomainModel, untrained, got {type(model).__name__}.")
    if config is not None and config != model.config:
        raise ValueError("Both config= and model= are given, and they differ. The model has its config: pass one.")
    return model


def genes_to_denoise(
    adata: AnnData, denoise: bool | Sequence[str], use_rep: str | None, model: DomainModel
) -> list[str] | None:
    """Return the genes to denoise: an empty list for all modelled genes, None for no denoising.

    Unknown names raise before training.
    """
    if isinstance(denoise, str):
        raise TypeError(f"denoise must be True, False or a list of genes, got the text {denoise!r}: [{denoise!r}]?")
    replaced_by = argument("use_rep", use_rep) if use_rep is not None else None
    if getattr(model.config, "image", None) == "only":
        replaced_by = argument("image", "only")
    if isinstance(denoise, bool | np.bool_):
        return [] if denoise and replaced_by is None and model.denoises else None
    if len(denoise) and not model.denoises:
        raise ValueError(
            f"Genes are named in {argument('denoise')}, but {type(model).__name__} does not denoise. "
            f"Pass {either('denoise=False', '--denoise none')}."
        )
    if replaced_by is not None:
        raise ValueError(
            f"Genes are named in {argument('denoise')}, but {replaced_by} replaces the genes, so "
            "nothing can be denoised. Leave one of the two out."
        )
    missing = [gene for gene in denoise if gene not in adata.var_names]
    if missing:
        raise KeyError(
            f"{', '.join(map(repr, missing[:5]))} of {argument('denoise')} is not in adata.var_names (e.g. "
            f"{', '.join(map(repr, adata.var_names[:3]))}). Name genes as var_names does."
        )
    return list(denoise) or None
