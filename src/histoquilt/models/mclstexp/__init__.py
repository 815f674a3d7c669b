"""mclSTExp: settings, network, training, reference bank."""
