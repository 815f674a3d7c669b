"""Directions that the embeddings of several domain models share."""
