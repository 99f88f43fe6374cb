"""How models predict, and how they are scored."""
