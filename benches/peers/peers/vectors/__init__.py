"""Vector computation of other projects and of the worker, side by side on the same rows and queries."""
