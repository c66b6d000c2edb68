"""`python -m flops_tracker` is the command `flops-tracker`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="flops-tracker")
