"""The client's whole life, simulated: one thread at a time, by a clock that jumps, with faults that a seed decides.

The client's code is the real one; what it talks to is not there. `scheduler` lets its threads take turns and has the time, `shims` put that
in the place of `time` and `threading`, `account` and `volume` stand for RunPod's API and S3, `pods` for what runs on a pod, and `world`
leads a few jobs through faults and looks whether what must hold has held.
"""
