"""What every room stands on: small modules that import nothing of the rooms above."""
