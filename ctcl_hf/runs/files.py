"""What the files in a run's output folder are called, where more than one module reads or writes
them.
"""

FIGURE_FILE = "figure.png"  # images, truth, both predictions, and where they disagree
EXTREMES_FILE = "extremes.png"  # the same of the images that are scored best and worst
SAMPLES_FILE = "samples.png"  # augmented images with their masks
GROUPS_FILE = "classes.png"  # when a student's peer was blind to a class
DATA_FILE = "data.json"  # what the check of the data has counted, see `DataSummary`
