"""What all expression models share: inputs, panel, validation, prediction, checkpoint."""
