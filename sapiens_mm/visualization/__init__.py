"""Visualization of labels and predictions with NumPy and OpenCV."""
