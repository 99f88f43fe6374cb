"""Methods side by side: the paper's tables, a grid of runs, and the report on it."""
