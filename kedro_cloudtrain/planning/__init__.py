"""Before a run: where each node goes, what it reads, what it may cost, and what is wrong."""
