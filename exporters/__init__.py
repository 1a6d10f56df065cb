"""Where intervals go: a Prometheus page, a recording, dumps and reports. Imports `collectors`."""
