"""What the tests share: projects, servers, and an account on loopback."""

import os

# Two of xdist's workers share two cores: jobs of theirs with a thread a core would only wait for each other. A file of trainings takes
# 0.6 of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
