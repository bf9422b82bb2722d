#!/usr/bin/env python3
"""The structure rules, held by a test: dependencies run one way, Qt and SQLite and CUDA stay in their folders, files stay
short, every extension folder has a README, no text names a path outside the project.

    check_rules.py SOURCE_DIR [MICROTOME_EXECUTABLE]
"""
import json
import os
import re
import subprocess
import sys

ROOT = sys.argv[1]
PROGRAM = sys.argv[2] if len(sys.argv) > 2 else None
# What a folder may include (by first or second path component), most basic first.
LAYERS = {
    "core/base": ["core/base"],
    "kernels": ["core/base", "kernels"],
    "core": ["core", "kernels"],
    "analysis": ["analysis", "core"],
    "app/layout": ["app/layout", "core/base"],
    "app/report": ["app/report", "app/layout", "core"],
    "app/engine": ["app/engine", "app/report", "analysis", "core", "plugins/host"],
    "app/cli": ["app/cli", "app/engine", "app/report", "analysis", "core", "plugins/host"],
    "app/desktop": ["app/desktop", "app/layout", "app/report", "core/base", "core/io", "core/store", "core/jobs", "core/tasks"],
    "plugins/include": ["plugins/include"],
    "plugins/host": ["plugins", "core"],
    "plugins/examples": ["plugins/include"],
}
# What the desktop app sees of the rest: interfaces without LibTorch.
DESKTOP_MAY = {"app/engine/engine.h", "app/cli/command_line.h", "app/cli/core_library.h"}
TORCH_FREE = ["core/base", "core/io", "core/store", "core/jobs", "core/tasks", "app/layout", "app/report", "app/desktop"]
TORCH_FREE_FILES = ["app/engine/engine.h", "analysis/analysis_info.h", "analysis/run_request.h"]
LIMIT = 500
problems = []


def sources():
    for folder in ("core", "kernels", "analysis", "app", "plugins", "tests"):
        for base, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in sorted(names):
                if name.endswith((".cc", ".h", ".cu", ".cuh")):
                    yield os.path.relpath(os.path.join(base, name), ROOT)


def layer_of(path):
    return max((k for k in LAYERS if path.startswith(k + "/")), key=len, default=None)


count = 0
for path in sources():
    count += 1
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        text = f.read()
    lines = text.count("\n")
    if lines > LIMIT:
        problems.append(f"{path} has {lines} lines, more than {LIMIT}: split it")
    if "../sha" + "red" in text or "/wo" + "rk/" in text:
        problems.append(f"{path} names a path outside the project")
    if path.startswith("tests/"):
        continue
    layer = layer_of(path)
    if layer is None:
        problems.append(f"{path} lies in no layer")
        continue
    for inc in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
        if layer == "app/desktop" and inc in DESKTOP_MAY:
            continue
        if not any(inc.startswith(a + "/") for a in LAYERS[layer]):
            problems.append(f"{path} includes {inc}, which {layer} may not")
    system = re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.M)
    for inc in system:
        if re.match(r"Q[A-Z]|Qt", inc) and layer != "app/desktop":
            problems.append(f"{path} includes Qt's {inc}")
        if inc.startswith("sqlite3") and not path.startswith("core/store/"):
            problems.append(f"{path} includes SQLite")
        if inc.startswith(("ATen/", "torch/", "c10/")) and (
                any(path.startswith(t + "/") for t in TORCH_FREE) or path in TORCH_FREE_FILES):
            problems.append(f"{path} includes LibTorch's {inc}")
        if inc.startswith(("spdlog/", "fmt/")) and path != "core/base/log.cc":
            problems.append(f"{path} includes {inc}: only core/base/log.cc may")
        if inc.startswith("ATen/") and path.endswith(".h") and inc != "ATen/core/Tensor.h" and not path.endswith("pch.h"):
            problems.append(f"{path}: a public header goes no further than ATen/core/Tensor.h, not {inc}")
    if "__global__" in text and not path.startswith("kernels/"):
        problems.append(f"{path} holds CUDA syntax")
    if re.search(r"\bnamespace utils\b", text) or "/utils" in path:
        problems.append(f"{path}: no utils")

if count < 100:
    problems.append(f"only {count} sources were found under {ROOT}: the check looks at the wrong folder")

for folder, marker in (("core/families", "family.cc"), ("core/mixers", "mixer.cc"), ("analysis", "analysis.cc")):
    base = os.path.join(ROOT, folder)
    found = [d for d in sorted(os.listdir(base)) if os.path.exists(os.path.join(base, d, marker))]
    if not found:
        problems.append(f"{folder} has no entry with {marker}")
    for d in found:
        if not os.path.exists(os.path.join(base, d, "README.md")):
            problems.append(f"{folder}/{d} has no README.md")
        if folder == "analysis" and not os.path.exists(os.path.join(base, d, "params.json")):
            problems.append(f"{folder}/{d} has no params.json")
    # No branch on a family's or a mixer's name outside its folder.
    if folder == "core/families":
        for path in sources():
            if path.startswith(("core/families/", "tests/", "app/cli/commands/bench.cc")):
                continue
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                for m in re.finditer(r'family\w*\s*==\s*"', f.read()):
                    problems.append(f"{path} branches on a family's name")

# A panel knows the session and the views, never another panel.
panels = os.path.join(ROOT, "app/desktop/panels")
names = [d for d in sorted(os.listdir(panels)) if os.path.isdir(os.path.join(panels, d))]
for d in names:
    if not os.path.exists(os.path.join(panels, d, "panel.cc")):
        problems.append(f"app/desktop/panels/{d} has no panel.cc")
    for name in sorted(os.listdir(os.path.join(panels, d))):
        with open(os.path.join(panels, d, name), encoding="utf-8") as f:
            for inc in re.findall(r'#\s*include\s*"app/desktop/panels/(\w+)/', f.read()):
                if inc != d:
                    problems.append(f"app/desktop/panels/{d}/{name} includes panel {inc}")
if len(names) < 10:
    problems.append(f"only {len(names)} panels were found")

for base, dirs, names in os.walk(ROOT):
    dirs[:] = [d for d in dirs if not d.startswith(".") and not d.startswith("build")]
    for name in names:
        size = os.path.getsize(os.path.join(base, name))
        if size > 8 << 20 and not name.endswith(".microtome"):
            problems.append(f"{os.path.relpath(os.path.join(base, name), ROOT)} has {size >> 20} MB")

if PROGRAM:
    linked = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    for bad in ("libQt", "libtorch", "libsqlite"):
        if bad in linked:
            problems.append(f"{PROGRAM} links {bad}: the thin program must start without it")
    desktop = os.path.join(os.path.dirname(PROGRAM), "microtome-desktop")
    if os.path.exists(desktop):
        linked = subprocess.run(["ldd", desktop], capture_output=True, text=True, check=True).stdout
        if "libtorch" in linked or "libc10" in linked:
            problems.append(f"{desktop} links LibTorch: the window must be up before it is opened")
        if "libQt6Widgets" not in linked:
            problems.append(f"{desktop} does not link Qt: the check looks at the wrong file")
    core = subprocess.run(["ldd", os.path.join(os.path.dirname(PROGRAM), "libmicrotome_app.so")], capture_output=True,
                          text=True, check=True).stdout
    for bad in ("libQt", "libtorch_cuda"):
        if bad in core:
            problems.append(f"libmicrotome_app.so links {bad}")
    # at::parallel_for is a plain loop in a file that is compiled without OpenMP.
    looped = 0
    with open(os.path.join(os.path.dirname(PROGRAM), "compile_commands.json"), encoding="utf-8") as f:
        for entry in json.load(f):
            path = os.path.relpath(entry["file"], ROOT)
            if path.startswith("core/") and path.endswith(".cc"):
                with open(entry["file"], encoding="utf-8") as source:
                    if "at::parallel_for" in source.read():
                        looped += 1
                        if "-fopenmp" not in entry["command"]:
                            problems.append(f"{path} calls at::parallel_for and is compiled without -fopenmp: one thread would run it")
    if looped == 0:
        problems.append("no file with at::parallel_for was found: the check looks at the wrong folder")
    if "libtorch_cpu" not in core:
        problems.append("libmicrotome_app.so does not link LibTorch: the check looks at the wrong file")

# A softmax and a recurrent layer keep their two colours everywhere: the report's style sheet has the app's, light and dark.
with open(os.path.join(ROOT, "app/desktop/theme/theme.cc"), encoding="utf-8") as f:
    theme = f.read()
with open(os.path.join(ROOT, "app/report/style.cc"), encoding="utf-8") as f:
    style = f.read()
for kind in ("softmax", "recurrent"):
    app = re.findall(rf"t\.{kind} = QColor\(0x([0-9a-f]{{6}})\)", theme)
    report = re.findall(rf"--{kind}:#([0-9a-f]{{6}})", style)
    if len(app) != 2 or app != report:
        problems.append(f"the colours of {kind} layers differ: app/desktop/theme/theme.cc {app}, app/report/style.cc {report}")

for p in problems:
    print(p)
print(f"{count} sources looked at, {len(problems)} problems")
sys.exit(1 if problems else 0)
