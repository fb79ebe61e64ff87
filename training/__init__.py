"""What `pretrain.py` leans on: optimiser groups and schedules, checkpoints, validation, preflight, report."""
