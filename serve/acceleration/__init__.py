"""What makes a denoiser's call faster: recording, compilation, FP8, fused kernels.

`cuda_graphs.CapturedSteps` replays a step, `compilation.compile_regions` compiles, `fp8` converts
layers, and `fused` has operators that do in one pass what eager torch does in several.
"""
