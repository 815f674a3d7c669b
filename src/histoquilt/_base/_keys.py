"""Keys that histoquilt reads from or writes to AnnData."""


class Keys:
    """Names of AnnData slots: the defaults of ``*_key`` arguments.

    Examples
    --------
    >>> from histoquilt._base import Keys
    >>> Keys.SPATIAL, Keys.DOMAIN, Keys.GENE_SYMBOL
    ('spatial', 'domain', 'gene_symbol')
    """

    # read
    SPATIAL = "spatial"  # obsm: spot centres (x, y)
    SECTION = "section"  # obs: tissue slice
    LIBRARY = "library_id"  # obs: squidpy's word for section
    PLACE = ("z_um", "x_um", "y_um")  # obs: position of the section in the study, one number per section
    COUNTS = "counts"  # layers: raw counts, if X holds something else

    # several sections in one AnnData
    OBS_NAME = "obs_name"  # obs: name of the spot in its section
    SECTIONS = "sections"  # uns["histoquilt"]["sections"]: section -> coordinates, source, libraries
    ONE_SECTION = "one_section"  # uns["histoquilt"]["one_section"]: True if declared to be one tissue

    # image
    PATIENT = "patient"  # obs: donor, whose sections stay on one side of a split
    CONDITION = "condition"  # obs: treatment, disease or other state, by which patients are compared
    SLIDE = "slide"  # obs: glass slide or capture slide that sections share
    FOLD = "fold"  # obs: fold of an evaluation in which the section is held out
    LABELS = "labels"  # obs: region labels of the user or the authors of a study
    IMAGE = "image"  # uns["histoquilt"]["image"]: path, mpp, image_scale of the H&E image of a section
    STAIN = "X_stain"  # obsm: colour and darkness of the stain around each spot
    OUT_OF_DISTRIBUTION = "out_of_distribution"  # obs: unlike the tissue a model was trained on
    CONTROLS = "controls"  # obsm: counts of control probes and spike-ins, which are not genes
    IN_PIXELS = "spatial_px"  # obsm: spot centres in full-resolution pixels
    IN_MICRONS = "spatial_um"  # obsm: the same in microns
    POLYGONS = "cell_polygons"  # obsm: outlines of cells in the unit of the spot centres, a sparse row per cell

    # genes
    GENE_ID = "gene_id"  # var: Ensembl identifier without version
    GENE_SYMBOL = "gene_symbol"  # var: display name
    GENE_SPECIES = "species"  # uns["histoquilt"]["genes"]: guessed from the identifiers

    # graph, named as squidpy names them
    CONNECTIVITIES = "spatial_connectivities"

    # results
    EMBEDDING = "X_domains"  # obsm: of the domain model
    DENOISED = "denoised"  # obsm: DataFrame, log1p_cp10k
    ALIGNED = "spatial_aligned"  # obsm: spot centres of all sections in one frame, microns
    JOINT = "X_joint"  # obsm: spatial factors of a study, smoothed within sections
    BEFORE = "X_before"  # obsm: plain principal components of a study
    HARMONY = "X_harmony"  # obsm: the same after Harmony
    SECTION_LINKS = "section_links"  # obsp: links between spots of different sections
    DOMAIN = "domain"  # obs: categorical
    MEASURED = "measured_log1p_cp10k"  # layers: measurement on the scale of a prediction
    MEASURED_COUNTS = "measured_counts"  # obs: total raw counts of a spot whose expression is predicted
    ANNOTATION = "annotation"  # obs: a pathologist's class, categorical; judges results, never makes them
    CONFIDENCE = "domain_confidence"  # obs: float in [0, 1]
    MARKERS = "domain_markers"  # uns: tidy DataFrame
    CONDITIONS = "conditions"  # uns: tables of a comparison of conditions

    # provenance: all entries of histoquilt in uns are under this name
    UNS = "histoquilt"
    SCALE = "scale"  # uns["histoquilt"]["scale"]: matrix name -> counts | log1p_cp10k | log_relative
    WRITTEN = "written"  # uns["histoquilt"]["written"]: slot -> keys of results, which a rerun may replace
    COORDINATES = "coordinates"  # uns["histoquilt"]["coordinates"]: unit, mpp, pitch
