"""What the measurements were made on."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from pathlib import Path


def processor() -> str:
    """Return the name of the processor, with its generation: some have one name for several."""
    path = Path("/proc/cpuinfo")
    found: dict[str, str] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    if "model name" not in found:
        return platform.processor() or platform.machine()
    generation = [f"{name} {found[name]}" for name in ("cpu family", "model") if name in found]
    return f"{found['model name']} ({', '.join(generation)})" if generation else found["model name"]


def graphics() -> str | None:
    """Return the name of the first CUDA device and its driver, if there is one."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    return found.stdout.splitlines()[0] if found.returncode == 0 and found.stdout else None


def commit() -> str | None:
    """Return the commit that the repository is at, with a + if files have changed since."""
    root = Path(__file__).parents[1]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def run(*arguments: str) -> str:
        command = [git or "git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = run("status", "--porcelain", "--untracked-files=no")
    return run("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


def describe(device: str, threads: int) -> dict[str, str]:
    """Return date, machine and versions that do not belong to one competitor."""
    facts = {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{processor()}, {os.cpu_count()} processors, {platform.machine()}",
        "threads": str(threads),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
    if device == "cuda":
        facts["GPU"] = graphics() or "unknown"
    revision = commit()
    if revision:
        facts["commit"] = revision
    return facts
