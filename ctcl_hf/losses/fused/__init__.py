"""Losses of upsampled logits that never hold those whole: a phase and a strip at a time."""
