"""Parts of every job: options, record of the run, working folder, results folder."""
