"""The first programs on a pod: two files that need nothing but the standard library, and stand alone."""
