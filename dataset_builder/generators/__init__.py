"""Where answers come from: one file a backend. Each has `identity` (what decides an answer beside the prompt),
`retried` (a count), `async generate(prompt, text) -> Answer` and `async close()`."""


class CallFailed(Exception):
    """One call gave no answer within its budget of retries. It is tried again by the next run."""


class Fatal(Exception):
    """No call can succeed until the user changes something, which the message says."""
