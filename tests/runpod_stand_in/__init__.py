"""RunPod on loopback: its REST v2, pods whose commands really run, and a real S3 server over the directory that they mount.

It knows the vendor's contract only, and nothing of the package that is tested with it.
"""

from .calls import API_KEY
from .faults import Faults
from .server import RunPodStandIn
from .storage import ACCESS_KEY, SECRET_KEY, S3StandIn

__all__ = ["ACCESS_KEY", "API_KEY", "SECRET_KEY", "Faults", "RunPodStandIn", "S3StandIn"]
