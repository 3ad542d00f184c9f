"""Commands that a test needs to succeed: where one fails, the test shows what it said."""

import subprocess


def succeeds(command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, (
        f"exit status {done.returncode} of {command}\n{done.stdout[-2000:]}{done.stderr[-6000:]}"
    )
    return done
