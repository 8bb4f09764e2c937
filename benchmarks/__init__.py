"""The figures that the pages state, each measured by `python -m benchmarks NAME`, which prints a table."""
