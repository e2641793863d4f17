"""Labelled images and a model to metrics with intervals, and the list of its mistakes."""
