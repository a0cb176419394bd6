"""Where scalars and pictures go: always metrics.csv, and the choices of `logger`."""
