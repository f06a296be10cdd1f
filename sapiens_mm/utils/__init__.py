"""Helpers that every room shares: files, images, problems of data sets, lists as text."""
