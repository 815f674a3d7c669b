"""Model cards: what a saved model is, written as ``README.md`` beside its weights.

M. Mitchell et al., Model Cards for Model Reporting, FAT* 2019. A card says what the model knows of itself, and where it
knows nothing, that this is so; its author adds the rest. It has no influence on the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histoquilt._base import listed
from histoquilt.models.expression._inner_validation import Reliability

if TYPE_CHECKING:
    from histoquilt.models._checkpoint import Checkpoint

MODEL_CARD = "README.md"
NOT_RECORDED = "not recorded"
_MOST_SECTIONS, _MOST_GENES = 30, 10  # named in a card


def model_card(checkpoint: "Checkpoint", version: str) -> str:
    """Return the card of a model as Markdown, with the metadata block that model hubs read.

    Parameters
    ----------
    checkpoint
        Contents of the model folder.
    version
        Version of histoquilt that saves the model.
    """
    is_expression = "fitted" in checkpoint.config
    purpose = "expression from H&E" if is_expression else "tissue domains"
    parts = [
        "---\nlibrary_name: histoquilt\ntags:\n- spatial-transcriptomics\n- histology\n---",
        f"# {checkpoint.model}: {purpose}",
        f"Saved by histoquilt {version}, seed {checkpoint.provenance.get('seed', NOT_RECORDED)}. Load it with "
        "`histoquilt.models.load(folder)`. The folder holds no pickle.",
        *(_expression(checkpoint) if is_expression else _domains(checkpoint)),
        "## Before you share this model\n\nAdd what only you know: the licence under which you share it (`license:` in "
        "the block at the top), the licence and the consent of the training data, who to ask, and what it must not be "
        "used for.",
    ]
    return "\n\n".join(parts) + "\n"


def reliability_of(arrays: Mapping[str, np.ndarray], n_folds: int) -> Reliability:
    """Return the reliability of the genes of an expression model."""
    parts = {name: arrays[f"reliability.{name}"] for name in ("correlation", "adjusted", "beats_mean")}
    return Reliability(**parts, n_folds=n_folds)


def encoders_of(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of the image encoders of a model, each once, with its fields."""
    found: dict[str, dict[str, Any]] = {}
    for record in (provenance.get("encoders") or {}).values():
        if "encoder" in record:
            one = found.setdefault(record["digest"], {**record, "fields_um": []})
            one["fields_um"].append(record.get("field_um"))
    return list(found.values())


def licence_in(card: Path) -> str:
    """Return the entry ``license:`` of the block at the top of a card; ``not recorded`` if there is none."""
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    if lines[:1] != ["---"]:
        return NOT_RECORDED
    for line in lines[1:]:
        if line.strip() == "---":
            break
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("license", "licence") and value.strip():
            return value.strip().strip("'\"")
    return NOT_RECORDED


def _expression(checkpoint: "Checkpoint") -> list[str]:
    facts, fitted = checkpoint.provenance, checkpoint.config["fitted"]
    sections: list[dict[str, Any]] = facts["sections"]
    groups = {one["group"] for one in sections}
    rows = [f"| {one['name']} | {one['group']} | {one['n_spots']:,} |" for one in sections[:_MOST_SECTIONS]]
    if len(sections) > len(rows):
        rows.append(f"| ... ({len(sections):,} in all) | | |")
    return [
        f"Predicts log1p of counts per 10,000 of {len(checkpoint.genes):,} genes "
        f"({listed(checkpoint.genes, _MOST_GENES)}) from image embeddings.",
        f"## Training data\n\n{len(sections):,} sections of {len(groups):,} individuals or groups, "
        f"{sum(one['n_spots'] for one in sections):,} spots, {fitted['pitch_um']:.4g} um apart.\n\n"
        "| section | held out together as | spots |\n|---|---|---|\n" + "\n".join(rows),
        f"Licence of the data: {NOT_RECORDED}. `provenance.json` has their digests.",
        f"## Image encoder\n\n{_encoders(facts)}",
        f"## Scores\n\n{_scores(checkpoint, fitted['n_folds'])}",
        f"## Limits\n\n{_limits(checkpoint, fitted, len(groups))}",
    ]


def _encoders(facts: Mapping[str, Any]) -> str:
    rows = [
        f"- `{one['encoder']}`, fields of {', '.join(f'{field:g}' for field in one['fields_um'] if field)} um; licence "
        f"of the weights: {one.get('licence') or NOT_RECORDED}; digest `{one['digest']}`"
        for one in encoders_of(facts)
    ]
    if not rows:
        return f"Not recorded: the embeddings ({listed(facts.get('encoders') or ['unknown'])}) came from elsewhere."
    return (
        "\n".join(rows) + "\n\nThe weights of the encoder are not part of this folder; prediction needs the same ones."
    )


def _scores(checkpoint: "Checkpoint", n_folds: int) -> str:
    scores = reliability_of(checkpoint.arrays, n_folds).summary()
    if not n_folds:
        return "None: this method keeps no predictions of left-out training sections."
    adjusted = scores["pcc_median_adjusted"]
    at_equal_depth = "not known, not all training sections have raw counts" if adjusted is None else f"{adjusted:.3f}"
    text = (
        f"On training sections that were left out in {n_folds} folds, over {scores['n_genes']:,} genes:\n\n"
        "| score | value |\n|---|---|\n"
        f"| median correlation, raw | {scores['pcc_median']:.3f} |\n"
        f"| median correlation at equal depth | {at_equal_depth} |\n"
        f"| genes better than the training mean | {scores['n_beats_mean']:,} |\n\n"
        "A raw correlation holds what follows from the number of counts of a spot alone; that at equal depth does not. "
        "Settings were chosen on the same folds, so new tissue will score lower: `histoquilt evaluate` measures by how "
        "much."
    )
    weights = checkpoint.provenance.get("chosen", {}).get("weights")
    if isinstance(weights, Mapping):
        text += f"\n\nMembers and their weights: {', '.join(f'{name} {value:.2f}' for name, value in weights.items())}."
    return text


def _limits(checkpoint: "Checkpoint", fitted: Mapping[str, Any], n_groups: int) -> str:
    limits = [
        "For research, not for diagnosis or treatment.",
        f"Trained on {n_groups:,} individuals or groups; another organ, disease, stain or scanner may be unlike them. "
        "Predictions mark such spots (`out_of_distribution`) and sections to which the image features do not transfer "
        "(`reliability_transfers`).",
        f"Spots are {fitted['pitch_um']:.4g} um apart in training; other spacings average other amounts of tissue.",
        "Genes differ in how well they are predicted: see `var['reliability']` and `var['reliability_adjusted']`.",
    ]
    caution = reliability_of(checkpoint.arrays, fitted["n_folds"]).caution
    if caution:
        limits.append(caution)
    if checkpoint.provenance.get("contains_measured_expression"):
        limits.append(
            "**Contains the measured expression of its training sections**: who gets this folder gets these data."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _domains(checkpoint: "Checkpoint") -> list[str]:
    facts, names = checkpoint.provenance, checkpoint.config.get("domains")
    sections = facts.get("sections") or []
    what = f"{len(checkpoint.genes):,} genes" if checkpoint.genes else "an embedding, not genes"
    found = f"{len(names):,} domains ({listed(names, 20)})" if names else "none yet"
    n_spots = f"{facts['n_spots']:,} spots" if "n_spots" in facts else "a number of spots that is not recorded"
    return [
        f"Embeds spots from {what}. Domains: {found}.",
        f"## Training data\n\n{n_spots} of {listed(sections, _MOST_SECTIONS) if sections else 'one section'}. Licence "
        f"of the data: {NOT_RECORDED}. `provenance.json` has their digest.",
        "## Scores\n\nNone: domains are found without labels. Compare them with an annotation "
        "(`histoquilt.metrics.ari`), and see `obs['domain_confidence']`.",
        "## Limits\n\n- For research, not for diagnosis or treatment.\n- Domains are numbered, not named; what they "
        "are is for you to say.\n- Other sections need at least half of the modelled genes, and the platform and spot "
        "distance of training; a tissue that training lacked is put into the domain that it resembles most.",
    ]
