"""The page of the service: figures, intents, versions, the operating point and what to review, as plain HTML."""
