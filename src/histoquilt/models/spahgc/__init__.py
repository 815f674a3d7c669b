"""SpaHGC: settings, graph, network, training."""
