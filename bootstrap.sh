#!/usr/bin/env bash
# From a bare Debian 12 or Ubuntu 24.04 to a running Microtome:
#   ./bootstrap.sh demo      build, then the main job on the shipped models, ending with a report
#   ./bootstrap.sh test      build, then every test
#   ./bootstrap.sh build     build only
#   ./bootstrap.sh bench     build, then the benchmark workloads (arguments go to `microtome bench`)
#   ./bootstrap.sh desktop   build and open the desktop app
# A second call does no work twice. What is missing is named before it is installed; with everything present neither root nor
# sudo is asked for. Settings: CMAKE_PREFIX_PATH or TORCH_ROOT (a LibTorch of your own), MICROTOME_DEPS_DIR (third-party
# headers and libraries unpacked in a folder), MICROTOME_BUILD_DIR (default build), MICROTOME_JOBS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

command=${1:-help}
[ $# -gt 0 ] && shift
case "$command" in
  build|test|demo|bench|desktop) ;;
  *) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; [ "$command" = help ] || [ "$command" = --help ] && exit 0; exit 2 ;;
esac

build_dir=${MICROTOME_BUILD_DIR:-build}
jobs=${MICROTOME_JOBS:-$(nproc)}
# Compiling a file that sees LibTorch takes up to 1.5 GB.
memory_jobs=$(( $(awk '/MemAvailable/ {print $2}' /proc/meminfo) / 1500000 ))
[ "$memory_jobs" -lt 1 ] && memory_jobs=1
[ "$jobs" -gt "$memory_jobs" ] && jobs=$memory_jobs

# 1. System packages
packages=(build-essential cmake ninja-build python3)
if [ -z "${MICROTOME_DEPS_DIR:-}" ]; then
  packages+=(libsqlite3-dev libcli11-dev nlohmann-json3-dev libspdlog-dev libpcre2-dev libicu-dev libgtest-dev libgraphviz-dev)
fi
# The desktop app, and its tests where the system's packages are used at all. (A font, or offscreen pictures hold no text.)
desktop_packages=(qt6-base-dev qt6-charts-dev qt6-svg-dev libqt6opengl6-dev libgl-dev libvulkan-dev libxkbcommon-dev fonts-dejavu-core)
case "$command" in
  desktop) packages+=("${desktop_packages[@]}") ;;
  test) [ -z "${MICROTOME_DEPS_DIR:-}" ] && packages+=("${desktop_packages[@]}" xvfb xauth) ;;
esac
# LibTorch: given, already there, or the wheel in a venv of our own (which needs python3-venv).
has_torch() { "$1" -c "import importlib.util as u, importlib.metadata as m, sys; sys.exit(0 if u.find_spec('torch') and m.version('torch').startswith('2.11') else 1)" >/dev/null 2>&1; }
torch=""
if [ -n "${TORCH_ROOT:-}" ]; then torch=given
elif [ -n "${CMAKE_PREFIX_PATH:-}" ]; then
  IFS=':;' read -ra prefixes <<< "$CMAKE_PREFIX_PATH"
  for p in "${prefixes[@]}"; do [ -f "$p/lib/libtorch_cpu.so" ] && torch=given; done
fi
if [ -z "$torch" ]; then
  if [ -x .venv/bin/python3 ] && has_torch .venv/bin/python3; then torch=venv
  elif command -v python3 >/dev/null && has_torch python3; then torch=system
  else packages+=(python3-venv); fi
fi

missing=()
if command -v dpkg-query >/dev/null; then
  for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
  done
fi
# A tool that is there by other means needs no package; headers are looked for by CMake.
have_tool() {
  case "$1" in
    build-essential) command -v g++ >/dev/null && command -v make >/dev/null ;;
    cmake) command -v cmake >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    python3) command -v python3 >/dev/null ;;
    python3-venv) python3 -c 'import ensurepip' >/dev/null 2>&1 ;;
    *) return 1 ;;
  esac
}
needed=()
for p in ${missing[@]+"${missing[@]}"}; do have_tool "$p" || needed+=("$p"); done
if [ ${#needed[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get: ${needed[*]}"
  say "Installing system packages: ${needed[*]}"
  if [ "$(id -u)" = 0 ]; then sudo=""; elif command -v sudo >/dev/null; then sudo=sudo; else
    die "these packages are missing; install them as root: apt-get install ${needed[*]}"; fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends "${needed[@]}"
fi

# 2. LibTorch
if [ -z "$torch" ]; then
  say "Installing LibTorch: the torch 2.11.0 wheel into .venv (about 4.6 GB on disk)"
  [ -x .venv/bin/python3 ] || python3 -m venv .venv
  .venv/bin/python3 -m pip install --no-compile --disable-pip-version-check -q torch==2.11.0
  torch=venv
fi

# 3. Configure and build
if ! command -v nvcc >/dev/null; then
  say "No CUDA toolkit found: building for the CPU. (A GPU is still used through LibTorch's own CUDA half where there is one.)"
fi
args=(-G Ninja -S . -B "$build_dir")
[ "$command" = desktop ] && args+=(-DMICROTOME_DESKTOP=ON)
[ -n "${TORCH_ROOT:-}" ] && args+=("-DTORCH_ROOT=$TORCH_ROOT")
[ -n "${CMAKE_PREFIX_PATH:-}" ] && args+=("-DCMAKE_PREFIX_PATH=${CMAKE_PREFIX_PATH//:/;}")
[ -n "${MICROTOME_DEPS_DIR:-}" ] && args+=("-DMICROTOME_DEPS_DIR=$MICROTOME_DEPS_DIR")
[ "$torch" = venv ] && args+=("-DTORCH_PYTHON=$PWD/.venv/bin/python3")
[ "$torch" = system ] && args+=("-DTORCH_PYTHON=$(command -v python3)")
cmake "${args[@]}" >"$build_dir.configure.log" 2>&1 || { cat "$build_dir.configure.log" >&2; die "configuring failed"; }
mkdir -p "$build_dir" && mv "$build_dir.configure.log" "$build_dir/configure.log"
targets=(microtome)
[ "$command" = test ] && targets=(all)
[ "$command" = desktop ] && targets=(microtome-desktop microtome)
cmake --build "$build_dir" -j "$jobs" --target "${targets[@]}"

# 4. Run
case "$command" in
  build) say "Built: $build_dir/microtome" ;;
  test) ctest --test-dir "$build_dir" --output-on-failure -j "$jobs" "$@" ;;
  demo) exec "$build_dir/microtome" demo "$@" ;;
  bench) exec "$build_dir/microtome" bench "$@" ;;
  desktop) exec "$build_dir/microtome-desktop" "$@" ;;
esac
