"""Poisson regression of raw counts on image embeddings."""
