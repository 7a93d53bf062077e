"""Compiled engines behind one protocol."""
