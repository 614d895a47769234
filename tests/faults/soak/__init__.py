"""Jepsen's parts for fnrunner: a seeded plan, a nemesis, a history, and a checker that balances it.

    plan ──► generator ──► the system under test ◄── nemesis ◄── plan
                 │          (API, sources, workers, broker, store)    │
                 └──────────► history ◄───────────────────────────────┘
                                 │      the functions' own log of runs, the audit and the dead letters
                                 └────► checker ──► what does not balance, event by event

Two runs of one plan do the same things at the same times, though never with the same interleaving. So everything that
happened is written down, and the checker is a function of what was written: a saved run can be judged again, and its
plan can be run again, with faults left out until only those are left that are needed.

    python -m tests.faults.soak --seed 7 --minutes 2
    python -m tests.faults.soak --replay DIRECTORY/plan.jsonl --without 3,5
    python -m tests.faults.soak --events 1000000

The checker errs on the side of silence only where the evidence cannot tell (an answer that never came); the lists of what
each fault may excuse are in :mod:`.fault`, and nothing else excuses anything.
"""
