"""Deploying: from a folder, a file or a SAM template to functions that run.

It owns what a deployment is made of and refuses, with file and line, what the server would have to ignore.

```
detect ──┐                                  (pure)            (pure)
         ├─► spec.Stack ──► package ──► plan ──► apply ──► the HTTP door
template ┘      source → intrinsics → schema
```

Nothing is changed before everything has been read, packaged and compared. Applying has a fixed order (queues and buckets,
functions, their asynchronous configuration, concurrency, notifications), and every step can be repeated: a deployment
that broke off in the middle is completed by running it again. Nothing is deleted that a template no longer names.
"""
