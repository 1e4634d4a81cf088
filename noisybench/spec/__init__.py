"""What a run is, without torch.

``config`` is the schema (what is asked for, what is run), ``layers`` gets from the one to the other, ``identity`` makes
run ids, ``text`` reads what people write. ``values`` are the tables and kinds of values, ``method_settings`` finds a
method's own, ``invalid`` words what is wrong. ``registry`` and ``cards`` are names and what is known of them.
"""
