#!/bin/sh
# A context variable that a notebook's cell sets does not always keep its value in the next cell.
#
# ipykernel 6.31.0 and 7.4.0: kept from plain cell to plain cell; lost after a cell with a top-level await, and the next
# cell reads the value from before. ipykernel 7.0.1: lost after every cell. The thread is the main one in each.
# Seen with ipython 9.18.1 and jupyter_client 8.10.0 on Python 3.11.
#
# Fails if this changes. FINDINGS_VENV: an environment to reuse; ipykernel is installed into it, version by version.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
venv=${FINDINGS_VENV:-$directory/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"

cat > "$directory/cells.py" <<'PYTHON'
import sys

from jupyter_client.manager import KernelManager

SETUP = "import asyncio, contextvars, threading\nvariable = contextvars.ContextVar('variable', default='unset')"
SHOW = "print(variable.get(), threading.current_thread() is threading.main_thread())"
CELLS = [SETUP, "variable.set('plain')", SHOW, "await asyncio.sleep(0)\nvariable.set('awaiting')", SHOW]

manager = KernelManager(transport="ipc", ip=sys.argv[1])
manager.kernel_spec.argv[0] = sys.executable
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
seen = []
for cell in CELLS:
    client.execute_interactive(
        cell, timeout=60, output_hook=lambda m: seen.append(m["content"]["text"].strip()) if m["msg_type"] == "stream" else None
    )
client.stop_channels()
manager.shutdown_kernel(now=True)
print("; ".join(seen))
PYTHON

expect() {
    "$venv/bin/pip" install --quiet --disable-pip-version-check "ipykernel==$1" "ipython==9.18.1" "jupyter_client==8.10.0"
    found=$("$venv/bin/python" "$directory/cells.py" "$directory/kernel-$1" 2> /dev/null)
    echo "ipykernel $1: after a plain cell; after a cell with await: $found"
    [ "$found" = "$2" ] || { echo "expected: $2" >&2; exit 1; }
}
expect 6.31.0 "plain True; plain True"
expect 7.0.1 "unset True; unset True"
expect 7.4.0 "plain True; plain True"
