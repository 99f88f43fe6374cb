"""The runs of a grid as jobs: of processes on this machine, or of a cluster."""
