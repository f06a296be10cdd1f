"""Pictures of labels and predictions, for every room; NumPy and OpenCV only."""
