"""Scripts run by `flops-tracker run` and by plain Python, in processes of their own."""

import os
import subprocess
import sys

# 2·4·5·6 FLOPs
MM = "torch.ones(4, 5).mm(torch.ones(5, 6))"


def environment(**more):
    ours = ("PYTHONSAFEPATH", "RANK", "WORLD_SIZE", "PYTHONWARNINGS", "PYTHONDEVMODE")
    return {k: v for k, v in os.environ.items() if k not in ours} | more


def python(*args, folder, **env):
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
    )


def run(*args, folder, **env):
    return python("-m", "flops_tracker", "run", *args, folder=folder, **env)


def same_as_python(*args, folder, **env):
    """Run with and without counting: output, traceback and exit code must be the same."""
    plain, counted = python(*args, folder=folder, **env), run(*args, folder=folder, **env)
    assert counted.stdout == plain.stdout
    assert counted.stderr.startswith(plain.stderr)
    assert counted.returncode == plain.returncode
    return counted


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def total_of(result):
    """Give the total of the report, as "966 FLOPs · matmul · ..." has it."""
    lines = [line for line in result.stderr.splitlines() if " FLOPs" in line and " · " in line]
    assert len(lines) == 1, result.stderr
    return int(lines[0].split()[0].replace(",", ""))
