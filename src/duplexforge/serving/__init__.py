"""The role ``serve``: people talk to a model over HTTP and WebSockets.

::

    protocols (pcm16, agent, realtime, one_shot)   speak to a client, each in its own words
        │ commands                    ▲ events
    conversation   one client: resampling, voice activity, turns and interruption (``turns``, pure), context
        │ frames, begin, cancel       ▲ what was said
    engine         one thread: a fixed number of slots, whose frames it gathers into steps of the backend
        │ step(frames by slot)
    backends       echo, s2s: the models

A protocol knows no backend and a backend no protocol: ``packets`` and ``events`` are all that they share.
"""
