"""`python -m flops_tracker` is the command `flops-tracker`."""

from .cli import main

main(prog_name="flops-tracker")
