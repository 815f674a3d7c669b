"""What every job stands on: options, record, working folder, results folder, one input after another."""
