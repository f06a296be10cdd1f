"""Shared helpers: files, tar files, images, problems of datasets, text, running over shards."""
