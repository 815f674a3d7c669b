"""Published image encoders: resolution, licence, paper, and settings for timm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KnownEncoder:
    """Registry entry of an image encoder, with published values."""

    name: str  # as get_encoder takes it
    n_features: int
    input_px: int
    mpp: float | None  # None for networks that were never trained on tissue
    licence: str  # of the weights
    citation: str
    gated: bool = False  # access has to be requested on the model's page
    # further arguments of timm.create_model; "SwiGLUPacked" and "SiLU" stand for the layers of that name
    arguments: Mapping[str, Any] = field(default_factory=dict)
    patch_mean: bool = False  # append the mean of the patch tokens to the class token, as the authors recommend
    mean: tuple[float, float, float] | None = None  # of red, green and blue, if the model's configuration lacks them
    std: tuple[float, float, float] | None = None


_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
_OPTIMUS_MEAN = (0.707223, 0.578729, 0.703617)
_OPTIMUS_STD = (0.211883, 0.230117, 0.177517)
_UNI = "Chen et al. 2024, Nature Medicine, doi:10.1038/s41591-024-02857-3"
_NOT_COMMERCIAL = "CC-BY-NC-ND-4.0"

KNOWN: dict[str, KnownEncoder] = {
    entry.name: entry
    for entry in (
        KnownEncoder(
            "hf-hub:MahmoodLab/UNI", 1024, 224, 0.5, _NOT_COMMERCIAL, _UNI, gated=True,
            arguments={"init_values": 1e-5, "dynamic_img_size": True},
        ),
        KnownEncoder(
            "hf-hub:MahmoodLab/UNI2-h", 1536, 224, 0.5, _NOT_COMMERCIAL, _UNI, gated=True,
            arguments={
                "img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "init_values": 1e-5,
                "embed_dim": 1536, "mlp_ratio": 2.66667 * 2, "no_embed_class": True, "reg_tokens": 8,
                "dynamic_img_size": True, **_SWIGLU,
            },
        ),
        KnownEncoder(
            "hf-hub:paige-ai/Virchow", 2560, 224, 0.5, "Apache-2.0",
            "Vorontsov et al. 2024, Nature Medicine, doi:10.1038/s41591-024-03141-0",
            gated=True, arguments=_SWIGLU, patch_mean=True,
        ),
        KnownEncoder(
            "hf-hub:paige-ai/Virchow2", 2560, 224, 0.5, _NOT_COMMERCIAL, "Zimmermann et al. 2024, arXiv:2408.00738",
            gated=True, arguments=_SWIGLU, patch_mean=True,
        ),
        KnownEncoder(
            "hf-hub:bioptimus/H-optimus-0", 1536, 224, 0.5, "Apache-2.0",
            "Saillard et al. 2024, github.com/bioptimus/releases",
            gated=True, arguments={"init_values": 1e-5, "dynamic_img_size": False},
            mean=_OPTIMUS_MEAN, std=_OPTIMUS_STD,
        ),
        KnownEncoder(
            "hf-hub:bioptimus/H-optimus-1", 1536, 224, 0.5, _NOT_COMMERCIAL,
            "Bioptimus 2025, huggingface.co/bioptimus/H-optimus-1",
            gated=True, arguments={"init_values": 1e-5, "dynamic_img_size": False},
            mean=_OPTIMUS_MEAN, std=_OPTIMUS_STD,
        ),
        KnownEncoder(
            "hf-hub:prov-gigapath/prov-gigapath", 1536, 224, 0.5, "Apache-2.0",
            "Xu et al. 2024, Nature, doi:10.1038/s41586-024-07441-w", gated=True,
        ),
        KnownEncoder(
            "hf-hub:1aurent/vit_base_patch16_224.owkin_pancancer", 768, 224, 0.5, "Owkin non-commercial",
            "Filiot et al. 2023 (Phikon), medRxiv, doi:10.1101/2023.07.21.23292757",
        ),
        KnownEncoder(
            "timm:densenet121", 1024, 224, None, "Apache-2.0", "Huang et al. 2017, arXiv:1608.06993 (ImageNet weights)"
        ),
        KnownEncoder(
            "timm:resnet18", 512, 224, None, "Apache-2.0", "He et al. 2016, arXiv:1512.03385 (ImageNet weights)"
        ),
        KnownEncoder(
            "timm:resnet50", 2048, 224, None, "Apache-2.0", "He et al. 2016, arXiv:1512.03385 (ImageNet weights)"
        ),
    )
}  # fmt: skip

# published, but not in a format that timm builds
NOT_TIMM = {
    "owkin/phikon": "a transformers model; the same weights for timm are "
    "'hf-hub:1aurent/vit_base_patch16_224.owkin_pancancer'",
    "owkin/phikon-v2": "a transformers model",
    "MahmoodLab/CONCH": "built by a package of its own",
}
