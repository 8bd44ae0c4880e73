"""What the tests share: projects, servers, and an account on loopback."""

import os
import tempfile
from pathlib import Path

# Two of xdist's workers share two cores: jobs of theirs with a thread a core would only wait for each other. A file of trainings takes
# 0.6 of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# JAX compiles hundreds of small functions for each network, which takes most of a test's time: once for all of them, and plainly.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"kedro-cloudtrain-tests-{os.getuid()}/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
