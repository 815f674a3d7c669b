"""Content of the page of domains: sections, studies, nested levels, and genes that a reader may ask for."""
