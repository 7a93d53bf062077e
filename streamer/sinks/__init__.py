"""Where answers go: Redis, its spool, and the encoded picture for viewers."""
