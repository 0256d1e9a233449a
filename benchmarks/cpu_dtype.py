"""Seconds of a layer in bfloat16 and in float32 on this CPU: python benchmarks/cpu_dtype.py."""

import time

import torch


def seconds(layer: torch.nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> float:
    """The best of three calls, after one that warms up."""
    layer, values = layer.to(dtype), torch.rand(shape).to(dtype)
    laps = []
    with torch.no_grad():
        for _ in range(4):
            began = time.perf_counter()
            layer(values)
            laps.append(time.perf_counter() - began)
    return min(laps[1:])


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread\n")
    print("| layer | bfloat16 | float32 | ratio |\n|---|---|---|---|")
    layers: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
        f"Conv3d, {width} channels": (torch.nn.Conv3d(width, width, 3), (1, width, 4, 66, 66)) for width in (8, 32)
    }
    layers["Linear, 96 to 192"] = torch.nn.Linear(96, 192), (512, 96)
    for name, (layer, shape) in layers.items():
        slow, fast = (seconds(layer, shape, dtype) for dtype in (torch.bfloat16, torch.float32))
        print(f"| {name} | {slow * 1e3:.2f} ms | {fast * 1e3:.2f} ms | {slow / fast:.0f}x |")


if __name__ == "__main__":
    main()
