"""What many runs say together, from records alone.

records: one small JSON file per run, and the frame of them; statistics: means, paired differences,
intervals, verdicts; tables and charts: the same as text and figures; summary: which of them some
records allow, the claims in words, and the report of `make reproduce`.
"""
