"""Reads the authors' own checkpoints: their layout in, our weights file out, every key and shape accounted for.

reading.py    a .pth, .pt, .pyth or .safetensors file to named tensors; never runs code that a file brings
fitting.py    their names and shapes against the module's: what is missing, left over or of the wrong shape
FAMILY.py     which module a checkpoint is of (read off its shapes), and what its authors call each tensor
"""
