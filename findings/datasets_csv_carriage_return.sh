#!/bin/sh
# A data set that Dataset.to_csv writes is not the one that Dataset.from_csv reads, if a text has a carriage return.
#
# datasets 5.0.1 with pandas 3.1.1 and Python 3.11: to_csv ends rows with a line feed and writes a carriage return inside
# a text unquoted; from_csv takes it for the end of a row. Two rows come back as three: the text is cut in two, its first
# part has no label, and nothing is said. pandas' own to_csv and read_csv do the same. Texts from Windows and from mails
# have such carriage returns. With a carriage return and a line feed (quoted by to_csv) the text comes back whole.
#
# Fails if this changes. FINDINGS_VENV: an environment to reuse, which has these versions.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
venv=${FINDINGS_VENV:-$directory/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet datasets==5.0.1 pandas==3.1.1
fi

cat > "$directory/write_and_read.py" <<'PYTHON'
import os
import sys

import datasets
import pandas
from datasets import Dataset

datasets.disable_progress_bars()
path = os.path.join(sys.argv[1], "rows.csv")
for text in ("a film\rand more", "a film\r\nand more"):
    written = Dataset.from_dict({"text": [text, "good"], "label": ["x", "y"]})
    written.to_csv(path, index=False)
    read = Dataset.from_csv(path, cache_dir=os.path.join(sys.argv[1], repr(text)[1:-1].replace("\\", "_")))
    print(len(read), read.to_dict() == written.to_dict(), read["text"][0] == text, read["label"][0])
    frame = pandas.DataFrame(written.to_dict())
    frame.to_csv(path, index=False)
    print(len(pandas.read_csv(path)))
PYTHON

seen=$(HF_HUB_OFFLINE=1 "$venv/bin/python" "$directory/write_and_read.py" "$directory" 2>/dev/null)
expected="3 False False None
3
2 True True x
2"
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "this has changed; it was:"
    echo "$expected"
    exit 1
fi
