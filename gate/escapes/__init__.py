"""The verifier's sandbox, attacked from inside. At every start, by `gate self-test`, and in CI."""
