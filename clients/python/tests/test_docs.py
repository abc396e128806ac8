"""The examples, and the code of the README, against the daemon."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

from support import Daemon

HERE = Path(__file__).resolve().parent.parent
USUAL_ADDRESS = "127.0.0.1:8889"


class Docs(unittest.TestCase):
    def run_program(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_examples_run(self) -> None:
        with Daemon() as daemon:
            said = self.run_program(str(HERE / "examples/quickstart.py"), daemon.address)
            self.assertEqual(said, "user 4211 logged in\n")
            said = self.run_program(str(HERE / "examples/threads.py"), daemon.address)
            self.assertEqual(said, "4950\n100 entries are on disk\n")

    def test_the_code_of_the_readme_runs_and_is_typed(self) -> None:
        blocks = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.S)
        self.assertEqual(len(blocks), 4)
        with Daemon() as daemon:
            said = [self.run_program("-c", block.replace(USUAL_ADDRESS, daemon.address)) for block in blocks]
        self.assertEqual(said[:2], ["1\n", "are you there?\n"])

    def test_the_code_of_the_project_s_readme_runs(self) -> None:
        blocks = re.findall(r"```python\n(.*?)```", (HERE.parent.parent / "README.md").read_text(), re.S)
        self.assertEqual(len(blocks), 1)
        with Daemon() as daemon:
            self.assertEqual(self.run_program("-c", blocks[0].replace(USUAL_ADDRESS, daemon.address)), "1\n")


if __name__ == "__main__":
    unittest.main()
