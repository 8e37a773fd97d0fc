#!/usr/bin/env python3
"""Writes the models the benchmarks run into a directory, in Triton's layout.

    python bench.py DIRECTORY [MODEL ...]

Real topologies, seeded random weights: what they answer means nothing, what they cost does. Not committed (163 MB, and
490 MB more with the two for CUDA, which are only written when they are named).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from train import IR_VERSION, OPSET, pin, tiny_model


class Builder:
    """Collects nodes and weights; each method takes and returns the name of a tensor."""

    def __init__(self, seed, real=np.float32):
        self.random, self.nodes, self.weights, self.real = np.random.default_rng(seed), [], [], real

    def weight(self, array):
        name = f"w{len(self.weights)}"
        array = array.astype(self.real) if array.dtype == np.float32 else array
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normal(self, shape, scale):
        return self.weight(self.random.standard_normal(shape, np.float32) * np.float32(scale))

    def ints(self, *values):
        return self.weight(np.array(values, np.int64))

    def op(self, kind, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def dense(self, x, fan_in, fan_out):
        product = self.op("MatMul", x, self.normal((fan_in, fan_out), fan_in**-0.5))
        return self.op("Add", product, self.normal(fan_out, 0.02))

    def model(self, inputs, output, last):
        self.nodes[-1].output[0] = output[0]
        assert self.nodes[-1].name == "" and last == f"t{len(self.nodes) - 1}"
        graph = helper.make_graph(
            self.nodes,
            "bench",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*output)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model


def resnet50(real=np.float32):
    b = Builder(50, real)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(real))

    def convolve(x, fan_in, fan_out, size, stride=1, gamma=1.0):
        weight = b.normal((fan_out, fan_in, size, size), (2 / (fan_in * size * size)) ** 0.5)
        pads = [size // 2] * 4
        y = b.op("Conv", x, weight, kernel_shape=[size, size], strides=[stride, stride], pads=pads)
        ones = np.ones(fan_out, np.float32)
        return b.op(
            "BatchNormalization",
            y,
            b.weight(ones * np.float32(gamma)),
            b.normal(fan_out, 0.05),
            b.normal(fan_out, 0.05),
            b.weight(ones + b.random.random(fan_out, np.float32) * np.float32(0.1)),
        )

    x = b.op("Relu", convolve("image", 3, 64, 7, 2))
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = b.op("Relu", convolve(x, channels, width, 1))
            y = b.op("Relu", convolve(y, width, width, 3, stride))
            y = convolve(y, width, 4 * width, 1, gamma=0.25)
            short = convolve(x, channels, 4 * width, 1, stride) if block == 0 else x
            x = b.op("Relu", b.op("Add", y, short))
            channels = 4 * width
    x = b.op("Flatten", b.op("GlobalAveragePool", x), axis=1)
    x = b.dense(x, 2048, 1000)
    return b.model([("image", element, ["batch", 3, 224, 224])], ("logits", element, ["batch", 1000]), x)


def encoder(layers=6, width=384, heads=12, inner=1536, length=128, vocabulary=8192):
    b = Builder(51)

    def normalize(x):
        scale, shift = b.weight(np.ones(width, np.float32)), b.weight(np.zeros(width, np.float32))
        return b.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)

    def split(x, order):
        x = b.op("Reshape", x, b.ints(0, length, heads, width // heads))
        return b.op("Transpose", x, perm=order)

    x = b.op("Gather", b.normal((vocabulary, width), 0.5), "input_ids")
    x = normalize(b.op("Add", x, b.normal((length, width), 0.1)))
    for _ in range(layers):
        query = split(b.dense(x, width, width), [0, 2, 1, 3])
        key = split(b.dense(x, width, width), [0, 2, 3, 1])
        value = split(b.dense(x, width, width), [0, 2, 1, 3])
        scores = b.op("Div", b.op("MatMul", query, key), b.weight(np.float32((width / heads) ** 0.5)))
        mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), value)
        mixed = b.op("Reshape", b.op("Transpose", mixed, perm=[0, 2, 1, 3]), b.ints(0, length, width))
        x = normalize(b.op("Add", b.dense(mixed, width, width), x))
        y = b.dense(x, width, inner)
        erf = b.op("Erf", b.op("Div", y, b.weight(np.float32(2**0.5))))
        y = b.op("Mul", b.op("Mul", y, b.op("Add", erf, b.weight(np.float32(1)))), b.weight(np.float32(0.5)))
        x = normalize(b.op("Add", b.dense(y, inner, width), x))
    x = b.op("ReduceMean", x, axes=[1], keepdims=0)
    return b.model(
        [("input_ids", TensorProto.INT64, ["batch", length])], ("embedding", TensorProto.FLOAT, ["batch", width]), x
    )


def mlp():
    b = Builder(52)
    x = b.op("Relu", b.dense("x", 256, 1024))
    x = b.op("Relu", b.dense(x, 1024, 1024))
    x = b.dense(x, 1024, 10)
    return b.model([("x", TensorProto.FLOAT, ["batch", 256])], ("y", TensorProto.FLOAT, ["batch", 10]), x)


def bert():
    return encoder(layers=12, width=768, inner=3072, vocabulary=30522)


MODELS = {
    "tiny": (tiny_model, "16 -> 32 -> 3"),
    "mlp": (mlp, "256 -> 1024 -> 1024 -> 10"),
    "encoder": (encoder, "Transformer encoder: 6 layers, 384 wide, 12 heads, 128 tokens (ids below 8192), mean pooled"),
    "resnet50": (resnet50, "ResNet-50, 224 x 224"),
}
FOR_CUDA = {
    "resnet50_fp16": (lambda: resnet50(np.float16), "ResNet-50, 224 x 224, half precision"),
    "bert": (bert, "BERT-base: 12 layers, 768 wide, 12 heads, 128 tokens (ids below 30522), mean pooled"),
}


def main():
    known = MODELS | FOR_CUDA
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("model", nargs="*", metavar="MODEL", help=f"of {', '.join(known)}; by default {', '.join(MODELS)}")
    arguments = parser.parse_args()
    for name in arguments.model or MODELS:
        if name not in known:
            parser.error(f"no model named {name}")
        make, text = known[name]
        folder = arguments.directory / name / "1"
        folder.mkdir(parents=True, exist_ok=True)
        data = pin(make(), name, text + "; seeded random weights.").SerializeToString(deterministic=True)
        (folder / "model.onnx").write_bytes(data)
        print(f"{name}: {len(data) / 1e6:.1f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
