"""The same questions as the offline evaluation asks, over the last half minute of a running stream."""
