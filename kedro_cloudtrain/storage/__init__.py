"""Where data is stored, and what tells whether it is the same as before."""
