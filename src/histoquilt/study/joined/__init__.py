"""Several sections together: joined into one AnnData, split, checked."""
