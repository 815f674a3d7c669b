"""A pathologist's annotations: read from QuPath or Loupe Browser, and brought to the spots of a section."""
