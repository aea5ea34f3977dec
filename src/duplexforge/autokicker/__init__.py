"""The autokicker: lends idle GPUs to our workers and gives them back as soon as somebody else is waiting for them."""
