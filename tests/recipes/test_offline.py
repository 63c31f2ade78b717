"""No network at run time: the main job, with every way out of the process shut."""

import subprocess
import sys
from pathlib import Path

SHUT = """
import sys

def refuse(event, args):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"}:
        raise SystemExit(f"the network was asked for: {event} {args}")

sys.addaudithook(refuse)
"""
JOB = """
from driftback.cli.app import main
from driftback.recipes import job

job.preview_steps = lambda event: 2

out = sys.argv[1]
for words in (
    ["fit", "digits", "--n", "100", "--batch", "16", "--steps", "2", "--out", out, "--quiet"],
    ["sample", out, "-n", "4", "--steps", "2", "--out", out + ".npy", "--quiet"],
    ["evaluate", out, "-n", "30", "--report", "--quiet"],
    ["likelihood", out, "--draws", "2", "--quiet"],
    ["info", out],
    ["check", "digits"],
):
    try:
        main(words)
    except SystemExit as left:
        if left.code:
            raise
print("all done")
"""
CALL = """
import socket
socket.create_connection(("127.0.0.1", 9))
print("all done")
"""


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SHUT + program, *words], capture_output=True, text=True, check=False)


def test_the_main_job_asks_for_no_network(tmp_path: Path) -> None:
    done = run(JOB, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all done\n")
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_call_is_noticed() -> None:
    """Planted fault: a program that connects."""
    done = run(CALL)
    assert done.returncode != 0
    assert "the network was asked for: socket." in done.stderr
    assert "all done" not in done.stdout
