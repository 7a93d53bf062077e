"""Recipes that make the shipped weights."""
