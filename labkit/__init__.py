"""What the labs' notebooks import, and what the command `lab` runs."""
