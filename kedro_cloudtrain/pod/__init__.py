"""What a pod runs first: two stand-alone files that need nothing but the standard library."""
