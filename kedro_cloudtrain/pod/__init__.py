"""The first programs on a pod: they need nothing but the standard library, and travel as `bootstrap.py` with `pod.zip`, or `courier.py`."""
