"""What pixels mean: detection, quality, liveness, embedding. A leaf: knows nothing of the gate."""
