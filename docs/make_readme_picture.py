"""Make the pictures of the README in docs/_static: domains.png and expression.png, both of toy tissue."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

import histoquilt as hq

STATIC = Path(__file__).parent / "_static"


def main() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    STATIC.mkdir(exist_ok=True)
    draw_domains()
    draw_expression()


def draw_domains() -> None:
    """A slide, its domains, and a gene as measured and denoised."""
    import matplotlib.pyplot as plt

    adata, image = hq.datasets.toy_slide(n_spots=1500, n_genes=500, n_domains=6, seed=0, mpp=4)
    hq.tl.spatial_domains(adata, 6, seed=0)
    hq.tl.domain_markers(adata)
    # the marker whose domain is told apart best, shown before and after
    markers = adata.uns["domain_markers"]
    gene = markers.loc[markers["score"].idxmax(), "gene"]

    figure, axes = plt.subplots(1, 4, figsize=(16, 4.4), layout="constrained")
    axes[0].imshow(image)
    axes[0].set_title("stained section (toy)")
    axes[0].axis("off")
    hq.pl.domains(adata, image=False, ax=axes[1]).set_title("domains")
    hq.pl.gene(adata, gene, ax=axes[2]).set_title(f"{gene}, as measured")
    hq.pl.gene(adata, gene, denoised=True, ax=axes[3]).set_title(f"{gene}, denoised")
    figure.savefig(STATIC / "domains.png", dpi=90, bbox_inches="tight")


def draw_expression() -> None:
    """A slide, a gene predicted from it beside its measurement, and the domains of the slide as a bare one."""
    import matplotlib.pyplot as plt

    mpp, fields = 2.0, (100.0, 200.0)
    slides = hq.datasets.toy_slides(3, n_spots=400, n_genes=150, n_domains=4, seed=0, mpp=mpp)
    for section, picture in slides.values():
        hq.im.embed_patches(section, picture, mpp=mpp, field_um=fields, progress=False)
    unseen, image = slides.pop("s3")
    model = hq.models.Stack().fit({name: section for name, (section, _) in slides.items()}, n_genes=40, seed=0)
    predicted, bare = model.predict(unseen), model.predict(image, mpp=mpp)
    hq.tl.spatial_domains(bare, 4, seed=0, progress=False)
    # the gene that was told best in training, not the one that fits this slide best
    gene = predicted.var["reliability"].idxmax()
    guess, truth = (predicted.obs_vector(gene, layer=layer) for layer in ("predicted_stack", "measured_log1p_cp10k"))

    figure, axes = plt.subplots(1, 4, figsize=(16, 4.4), layout="constrained")
    axes[0].imshow(image)
    axes[0].set_title("stained section (toy)")
    axes[0].axis("off")
    for ax, values, title in (
        (axes[1], guess, f"{gene}, predicted from the stain"),
        (axes[2], truth, f"{gene}, as measured (r = {np.corrcoef(guess, truth)[0, 1]:.2f})"),
    ):
        x, y = predicted.obsm["spatial"].T
        low, high = np.percentile(values, [1, 99])
        ax.scatter(x, y, c=values, s=100, cmap="viridis", vmin=low, vmax=high, linewidths=0)
        ax.set(aspect="equal", title=title)
        ax.invert_yaxis()
        ax.axis("off")
    hq.pl.domains(bare, image=False, ax=axes[3]).set_title("domains of the bare slide")
    with io.BytesIO() as drawn:
        figure.savefig(drawn, dpi=75, bbox_inches="tight", facecolor="white")
        # 256 colours are enough here, and a repository keeps every version of a picture
        Image.open(drawn).convert("RGB").quantize(256).save(STATIC / "expression.png", optimize=True)


if __name__ == "__main__":
    main()
