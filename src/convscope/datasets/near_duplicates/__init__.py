"""Finds near duplicates: images that show the same picture although their files differ."""
