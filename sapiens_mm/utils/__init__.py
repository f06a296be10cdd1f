"""Shared helpers: files, images, problems of datasets, text, running over shards."""
