"""What builds labs, proves them, grades submissions and reports."""
