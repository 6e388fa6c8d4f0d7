"""Runs functions of the pages' scripts in Node."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.tools.installed import require_tool
from tests.tools.paths import ROOT

STATIC = ROOT / "daemon" / "web" / "static"
_HEAD = """
import { readFileSync } from "node:fs";
const load = (name) => import("./" + name);
const values = JSON.parse(readFileSync(0, "utf-8"));
const answer = (made) => console.log(JSON.stringify(made));
"""


def run_script(script: str, values: Any, folder: Path) -> Any:
    """Run a module that gets `values` and `load(name)`, and return what it gives to `answer`.

    Skips the test where Node is not installed.
    """
    node = require_tool("node")
    # By this file Node takes the scripts for modules, as the pages do.
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    for path in STATIC.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "tried.js").write_text(_HEAD + script, encoding="utf-8")
    done = subprocess.run(
        [node, str(folder / "tried.js")],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
