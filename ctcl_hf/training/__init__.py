"""The loop: transformers' Trainer around a pair of students."""
