"""Deploying: from a folder, a file or a SAM template to functions that run.

It owns what a deployment is made of and refuses, with file and line, what the server would have to ignore.

```
detect ──┐                                  (pure)            (pure)
         ├─► spec.Stack ──► package ──► plan ──► apply ──► the HTTP door
template ┘      source → intrinsics → schema
```

Nothing is changed before everything has been read, packaged and compared. Applying has a fixed order (streams, queues, topics
and buckets; functions; their asynchronous configuration, concurrency, notifications; what else invokes them; HTTP APIs), and
every step can be repeated: a deployment that broke off in the middle is completed by running it again. What invokes a function
of the template and is not in the template any more is taken away; nothing else is deleted.
"""
