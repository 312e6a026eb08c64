"""The version; also read by hatchling, which builds the distribution."""

__version__ = "0.1.0"
