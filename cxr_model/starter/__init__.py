"""The model that comes with the package: `card.json` and `weights.safetensors`."""
