"""Shared helpers: files, images, problems of data sets, text, running over shards."""
