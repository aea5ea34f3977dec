"""The speech-to-speech model: it hears the user's speech and answers with text and the base codec's tokens.

:mod:`shape` says how large it is, :mod:`features` what it hears, :mod:`vocabulary` and :mod:`streams` what it says and in which
order; :mod:`network` is the model in torch, :mod:`talk` runs any implementation of its two steps without torch.
:mod:`plain` is one in numpy, :mod:`onnx_steps` one of exported graphs; :mod:`opening` is the door to all of them.
"""
