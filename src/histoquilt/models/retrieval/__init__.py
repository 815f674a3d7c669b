"""Retrieval: mean expression of the training spots whose images are most similar."""
