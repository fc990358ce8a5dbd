"""The system under test: Ray Serve around a diffusers model, reached over HTTP only."""
