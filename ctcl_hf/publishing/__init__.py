"""Where students go, and what goes with them: the Hub, a model card, an ONNX file."""
