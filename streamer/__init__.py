"""Frames in, answers out: sources, channels, batching, tracking results, events and where they go."""

__version__ = "0.1.0"
