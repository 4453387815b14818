"""Everything that is a device: turnstile line, card reader, camera.

A leaf: knows nothing of the gate or of the models.
"""
