"""What runs have left: a record of each, compared with others and counted in dollars."""
