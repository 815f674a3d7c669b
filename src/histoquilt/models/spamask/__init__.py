"""SpaMask: settings, network inputs, training, the trained model."""
