"""Image encoders: the built-in one, ONNX files, timm."""
