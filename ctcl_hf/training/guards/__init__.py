"""What must not end a run, or must end it in good order: signals, dead workers, failing trackers,
bad gradients.
"""
