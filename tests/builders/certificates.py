"""A CA and certificates, made with the commands of docs/tls.md."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dicom_io.peer.tls import Credentials
from tests.tools.installed import require_tool
from tests.tools.paths import ROOT

PAGE = ROOT / "docs" / "tls.md"
HERE = "DNS:localhost,IP:127.0.0.1"
DAYS = 397


def commands(name: str) -> str:
    """Return the shell commands that the page shows under this name."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"<!-- run: {name} -->\n *```sh\n(.*?)```", text, re.DOTALL)
    assert found, f"docs/tls.md has no commands {name}"
    return found[1]


def run(folder: Path, script: str) -> str:
    """Run shell commands in the folder and return their output."""
    require_tool("openssl")
    done = subprocess.run(
        ["/bin/sh", "-euc", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Authority:
    """A CA and its certificates, in a folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, names: str = HERE, days: int = DAYS) -> Credentials:
        run(self.folder, f"{_issue_only()}\nissue {name} '{names}' {days}")
        return self.of(name)

    def of(self, name: str) -> Credentials:
        return Credentials(self.folder / f"{name}.pem", self.folder / f"{name}.key")


def authority(folder: Path) -> Authority:
    """Make a CA with certificates for this node and two peers."""
    folder.mkdir(parents=True)
    issued = "\n".join(f"issue {name} '{HERE}' {DAYS}" for name in ("cxrd", "pacs", "modality"))
    run(folder, commands("ca") + issued)
    return Authority(folder)


def _issue_only() -> str:
    script = commands("ca")
    return script[script.index("issue()") :]
