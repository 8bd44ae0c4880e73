"""One job, from an order to its values: prepared, given a slot, run by a backend, read back."""
