"""Files of instruments and their software."""
