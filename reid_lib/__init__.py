"""A reproducible companion to "What Makes You Look Like You" (Wei, Lin, Lin, Liao)."""

__version__ = "0.2.0"
