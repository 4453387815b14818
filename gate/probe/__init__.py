"""The retention probe: plants known passages and looks for what must not remain of them."""
