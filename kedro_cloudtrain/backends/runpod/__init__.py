"""RunPod: jobs on pods, a network volume or a bucket between here and there, and never a pod without a deadline."""
