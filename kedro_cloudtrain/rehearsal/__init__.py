"""RunPod on loopback: its REST v2, pods whose commands really run, and a real S3 server over the directory that they mount.

It knows the vendor's contract alone, and nothing of the client that is rehearsed or tested with it.
"""

from kedro_cloudtrain.rehearsal.calls import API_KEY
from kedro_cloudtrain.rehearsal.faults import Faults
from kedro_cloudtrain.rehearsal.rehearsal import Rehearsal, Seed
from kedro_cloudtrain.rehearsal.server import RunPodStandIn
from kedro_cloudtrain.rehearsal.storage import ACCESS_KEY, SECRET_KEY, S3StandIn

__all__ = ["ACCESS_KEY", "API_KEY", "SECRET_KEY", "Faults", "Rehearsal", "RunPodStandIn", "S3StandIn", "Seed"]
