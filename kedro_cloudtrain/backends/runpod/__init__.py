"""RunPod: jobs on pods, with a network volume or a bucket between client and pod, and never a pod without a deadline."""
