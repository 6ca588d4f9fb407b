"""Generates the stubs as a project in Python does, and makes them importable.

`google/api` is not generated: googleapis-common-protos has it, and a second copy would clash.
"""

import atexit
import importlib.resources
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[3]


def generate() -> None:
    """Generates into a directory that is removed when the program ends."""
    output = tempfile.mkdtemp(prefix="token-authority-stubs-")
    atexit.register(shutil.rmtree, output)
    files = sorted((ROOT / "proto").rglob("*.proto")) + sorted((ROOT / "third_party" / "buf").rglob("*.proto"))
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    roots = [ROOT / "proto", ROOT / "third_party", well_known]
    arguments = [f"--proto_path={root}" for root in roots]
    arguments += [f"--python_out={output}", f"--grpc_python_out={output}"]
    if protoc.main(["protoc", *arguments, *map(str, files)]) != 0:
        sys.exit("the stubs could not be generated")
    sys.path.insert(0, output)
