import subprocess
import sys

SCRIPT = r"""
import logging, sys
from modeling_paraclip.terminal import set_up_output

set_up_output(sys.stdout)
name = "\x1b]0;evil\x07 \u202e \ud800"
logging.getLogger("train").warning("ours %s", name)
logging.getLogger("datasets").error("theirs %s", name)
logging.getLogger("httpx").info("a line per request")
print("caf\u00e9 \u4f60")
"""


def test_no_name_controls_the_terminal_and_no_encoding_stops_it():
    for encoding in ("utf-8", "ascii", "cp1252"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, env={"PYTHONIOENCODING": encoding}, check=True
        )
        output = done.stdout + done.stderr
        assert output.count(rb"\x1b]0;evil\x07 \u202e \ud800") == 2
        assert b"\x1b" not in output and b"a line per request" not in output
        assert b"caf" in output
