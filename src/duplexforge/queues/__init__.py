"""Task queues: one contract (``base``); ``prefix`` needs nothing but an object store, ``sqs`` has SQS deliver its tasks."""
