"""How long the speech-to-speech model makes a person wait: ``duplexforge benchmark latency``.

``turn`` times whole turns of a conversation, ``chunks`` the codec beside it, ``report`` says what came out, ``picture`` draws it.
Every figure says when its clock started; each is measured by ``time.perf_counter`` or is not there.
"""
