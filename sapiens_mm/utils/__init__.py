"""Helpers that every room shares: files, images read by Pillow, lists as text."""
