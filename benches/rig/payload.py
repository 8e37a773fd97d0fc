#!/usr/bin/env python3
"""Writes the request bodies of the `tiny` model for h2load and wrk into a folder: grpc.bin (one framed ModelInferRequest),
binary.bin (REST with the binary extension), json.bin and wrk scripts for both. Needs only the standard library."""

import json
import struct
import sys
from pathlib import Path

WIDTH = 16


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def grpc_message(rows):
    shape = varint(rows) + varint(WIDTH)
    tensor = field(1, b"x") + field(2, b"FP32") + field(3, shape)
    message = field(1, b"tiny") + field(5, tensor) + field(7, values(rows))
    return b"\0" + struct.pack(">I", len(message)) + message


def values(rows):
    return struct.pack(f"<{rows * WIDTH}f", *[(i % 7) / 7 for i in range(rows * WIDTH)])


def main(folder, rows=1):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grpc.bin").write_bytes(grpc_message(rows))
    tensor = {"name": "x", "shape": [rows, WIDTH], "datatype": "FP32"}
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": 4 * rows * WIDTH}}],
            "parameters": {"binary_data_output": True},
        },
        separators=(",", ":"),
    ).encode()
    body = head + values(rows)
    (folder / "binary.bin").write_bytes(body)
    numbers = [round(v, 4) for v in struct.unpack(f"<{rows * WIDTH}f", values(rows))]
    text = json.dumps({"inputs": [{**tensor, "data": numbers}]}, separators=(",", ":")).encode()
    (folder / "json.bin").write_bytes(text)
    for name, headers in (
        ("binary", {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}),
        ("json", {"Content-Type": "application/json"}),
    ):
        lines = [
            f'local file = io.open("{(folder / (name + ".bin")).resolve()}", "rb")',
            'wrk.method = "POST"',
            'wrk.body = file:read("*a")',
        ]
        lines += [f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
        (folder / f"{name}.lua").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
