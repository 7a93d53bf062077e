"""How good the shipped weights are, by kept libraries: pycocotools and motmetrics."""
