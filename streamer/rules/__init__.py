"""Results become events."""
