"""The nightly ingest of New York's flights: one module a task, read them in the order of the notebook."""
