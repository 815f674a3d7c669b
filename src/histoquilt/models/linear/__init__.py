"""The training mean and linear models of image embeddings."""
