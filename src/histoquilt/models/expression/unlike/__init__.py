"""Whether a section is like the tissue that a model was trained on: embedding, stain, transfer of the features."""
