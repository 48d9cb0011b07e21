"""The counting behind `reid_lib.metrics`: protocol, distances, ties, re-ranking, intervals."""
