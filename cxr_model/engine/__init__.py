"""Engines that run a bundle's network: ONNX Runtime, OpenVINO and torch."""
