"""Tensors in, tensors out: model families, compiled backends, tasks, training and evaluation."""
