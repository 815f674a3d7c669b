"""Jobs on expression from H&E: train a model, predict with it, evaluate methods."""
