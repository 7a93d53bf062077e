"""Any detector or semantic segmenter that the `transformers` library knows by its public Auto classes.

address.py   `hf://owner/name` or `hf://./folder`, and what may follow it        (imports no torch)
resolve.py   to a folder on this machine: itself, or the hub's cache             (imports no torch)
reading.py   what its two JSON files say: task, names, size, preprocess          (imports no torch)
family.py    what is to be built of it, and how it is judged                     (imports no torch)
module.py    the model with its preprocess in front: uint8 pictures in           (the build's child alone)
"""
