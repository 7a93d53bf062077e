"""A user's own ONNX graph: served as it is, with the preprocess that its card describes put in front.

family.py   what is to be built of it, and how it is judged      (imports no torch and no onnx)
layout.py   what the file and the card say together              (the build's child alone, as are the others)
edges.py    nodes before the graph (pixels) and behind it (the names and units that tasks read)
batches.py  a graph made for one picture, made to take several
graph.py    the model for the builder: the reference answers, the new graph is written
"""
