"""The first program on a pod: runs the job of its folder once, and ends the pod."""

import sys
from pathlib import Path

# The archive beside this program holds cloudtrain_pod, which needs nothing but the standard library.
sys.path.insert(0, str(Path(__file__).with_name("pod.zip")))

from cloudtrain_pod.start import main

if __name__ == "__main__":
    main(sys.argv[1:])
