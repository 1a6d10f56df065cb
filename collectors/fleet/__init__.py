"""Many nodes at once: what is asked of a Prometheus or of their exporters, and what follows from it."""
