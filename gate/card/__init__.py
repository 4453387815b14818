"""ISO/IEC 18013-5: what the reader side must speak and must check."""
