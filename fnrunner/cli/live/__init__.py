"""`fnrunner dev PATH`: what a developer saves is what the next invocation runs.

What this package owns
    Which files belong to a function's code (:mod:`~fnrunner.cli.live.source`), hearing of their changes
    (:mod:`~fnrunner.cli.live.watch`), and what follows a change (:mod:`~fnrunner.cli.live.reload`): changed files go into a
    working copy of the worker beside it; a changed template or ``requirements.txt`` is deployed again.

What it refuses
    To read what did not change: a save costs as much in a tree of ten files as in one of ten thousand. To deploy what was
    saved: versions are published from deployments, and `fnrunner deploy` makes them.

::

    editor ─► inotify ─► settled ─┬─ source ─► WorkingCopies.update ─► LiveCode.show ─► the next environment
                                  └─ template, requirements ─► Deployment

What happens when each part dies
    *A deployment fails*: its fault is printed, what was deployed stays, and the next save is another try.
    *The kernel gives no more watches*: the tree is compared twice a second instead, and that is said.
    *fnrunner dev*: the working copies are of no use any more; the next start deploys what is there then.
"""
