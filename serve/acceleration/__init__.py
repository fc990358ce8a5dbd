"""What makes a denoiser's call faster: recording, compilation, FP8, fused kernels.

`cuda_graphs.CapturedSteps` replays a step, `compilation.compile_regions` compiles, `fp8.quantize`
converts layers, and `fused.fusion.fuse_pipeline` puts in operators of fewer passes over memory.
"""
