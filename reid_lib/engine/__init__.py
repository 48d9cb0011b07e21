"""What makes a run exact and resumable; skip it at first reading."""
