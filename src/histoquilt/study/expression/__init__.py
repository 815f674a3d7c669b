"""Expression of a section: which matrix holds it, on which scale, read by chunks of spots."""
