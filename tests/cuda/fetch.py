"""Fetches the CUDA build of ONNX Runtime from PyPI: python3 fetch.py VERSION FOLDER puts its three libraries into FOLDER."""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

LIBRARIES = ("libonnxruntime.so.", "libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so")

version, folder = sys.argv[1], pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory(dir=folder) as downloads:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--retries=10"]
    wheel = ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.12"]
    wheel += ["--platform", "manylinux_2_28_x86_64", f"onnxruntime-gpu=={version}"]
    subprocess.run([*pip, "--dest", downloads, *wheel], check=True)
    (file,) = pathlib.Path(downloads).glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if pathlib.PurePath(name).name.startswith(LIBRARIES):
                (folder / pathlib.PurePath(name).name).write_bytes(archive.read(name))
# Only now, so that half a download is fetched again.
(folder / "whole").touch()
