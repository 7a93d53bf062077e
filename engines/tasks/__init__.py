"""What a model is used for: pure pre- and postprocess."""
