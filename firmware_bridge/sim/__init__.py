"""Simulators that ship with the product. Each stands where hardware ends and can misbehave."""
