"""The turnstile controller's own firmware (C), the page that holds its key, and its emulator."""
