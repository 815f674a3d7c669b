"""Several sections: samples.csv, joining, splitting, checks."""
