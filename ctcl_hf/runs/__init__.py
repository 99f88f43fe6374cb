"""A whole run, and many of them side by side."""
