"""Mean IoU as `evaluate` loads it from this folder, which it needs nothing else of."""
