"""Keypoint sets and body parts: names, colors, mirror pairs and conversions."""
