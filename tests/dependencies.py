"""The libraries that an installed `streaming` runs with: what is known against them, and the list of them.

    python -m tests.dependencies                  ask whether anything is known against one of them
    python -m tests.dependencies --sbom FILE      write them down, with their hashes (CycloneDX 1.6)

They are those of the lock, with all extras and for all machines; what only development needs is not among them.
Without a network nobody can be asked: that is said, and is no failure.

Owns:   which libraries these are; when an answer is a finding, and when it is none.
Uses:   pip-audit (what is known, from the index that pip has), cyclonedx-bom (the list).
Never:  installs or changes anything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

#: Seconds that a question about one library may take, and all of it.
ASK_S, ALL_S = 10, 240

#: What is known, and does not concern us: the id of it, and why.
ACCEPTED: Mapping[str, str] = {}


def requirements() -> str:
    """The libraries as pip names them, each with its hashes."""
    packages = tomllib.loads((ROOT / "poetry.lock").read_text())["package"]
    return "\n".join(_line(package) for package in packages if "main" in package["groups"]) + "\n"


def _line(package: Mapping[str, Any]) -> str:
    hashes = " ".join(f"--hash={file['hash']}" for file in package["files"])
    return f"{package['name']}=={package['version']} {hashes}"


def judge(report: str) -> tuple[int, list[str]]:
    """What a report of pip-audit means.

    Args:
        report: its JSON; anything else if it could ask nobody.

    Returns:
        The status of this command, and what to say.
    """
    try:
        found = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, ["nobody could be asked: is there a network?"]
    asked = [each for each in found if "skip_reason" not in each]
    known = [(each, flaw) for each in asked for flaw in each["vulns"] if not _accepted(flaw)]
    words = [
        f"{each['name']} {each['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version'}"
        for each, flaw in known
    ]
    return bool(known), [*words, f"{len(asked)} of {len(found)} libraries were asked for, {len(known)} findings"]


def _accepted(flaw: Mapping[str, Any]) -> bool:
    return not ACCEPTED.keys().isdisjoint({flaw["id"], *flaw.get("aliases", ())})


def main(words: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write the list into this file")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text(requirements())
        if options.sbom is not None:
            return _write(listed, options.sbom)
        status, said = judge(_asked(listed))
    print(*said, sep="\n")
    return status


def _asked(listed: Path) -> str:
    how = ["--disable-pip", "--no-deps", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(listed), *how, "--timeout", str(ASK_S)]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ALL_S, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def _write(listed: Path, target: Path) -> int:
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(listed), "--output-reproducible"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        print(made.stderr, file=sys.stderr)
        return made.returncode
    bill = json.loads(made.stdout)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # The tool reads this from files of Poetry's own form only.
    bill.setdefault("metadata", {})["component"] = {
        "type": "application",
        "bom-ref": "streaming",
        "name": project["name"],
        "version": project["version"],
        "licenses": [{"license": {"id": project["license"]}}],
    }
    target.write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{target}: {len(bill['components'])} libraries")
    return 0


if __name__ == "__main__":
    sys.exit(main())
