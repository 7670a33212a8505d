"""Holds the API against its own description with Schemathesis: no answer of the 500s, no undescribed content."""

import os
import subprocess
import sys
from pathlib import Path


def check(url, token, examples=20):
    """Gives Schemathesis's exit code and what it printed. Streams are left out: they do not end."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--url", url,
        "--header", f"X-Auth-Token: {token}", "--max-examples", str(examples), "--seed", "1",
        "--checks", "no_unforeseen_error", "--request-timeout", "120", "--workers", "2", "--no-color",
        "--exclude-path-regex", "^/(events|ws|all_events|formatted_events|logout)",
        "--suppress-health-check", "all", "--phases", "examples,coverage,fuzzing",
    ]  # fmt: skip
    here = str(Path(__file__).parent)
    environment = dict(os.environ, SCHEMATHESIS_HOOKS="schema_checks", PYTHONPATH=here)
    run = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=environment)
    return run.returncode, run.stdout + run.stderr


if __name__ == "__main__":
    code, said = check(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 100)
    print(said)
    sys.exit(code)
