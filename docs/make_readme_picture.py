"""Make docs/_static/domains.png, the picture of the README: a toy slide, its domains and a denoised gene."""

from pathlib import Path

import histoweave as hw

HERE = Path(__file__).parent


def main() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    adata, image = hw.datasets.toy_slide(n_spots=1500, n_genes=500, n_domains=6, seed=0, mpp=4)
    hw.tl.spatial_domains(adata, 6, seed=0)
    hw.tl.domain_markers(adata)
    # the marker whose domain is told apart best, shown before and after
    markers = adata.uns["domain_markers"]
    gene = markers.loc[markers["score"].idxmax(), "gene"]

    figure, axes = plt.subplots(1, 4, figsize=(16, 4.4), layout="constrained")
    axes[0].imshow(image)
    axes[0].set_title("stained section (toy)")
    axes[0].axis("off")
    hw.pl.domains(adata, image=False, ax=axes[1]).set_title("domains")
    hw.pl.gene(adata, gene, ax=axes[2]).set_title(f"{gene}, as measured")
    hw.pl.gene(adata, gene, denoised=True, ax=axes[3]).set_title(f"{gene}, denoised")
    path = HERE / "_static" / "domains.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    print(path.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
