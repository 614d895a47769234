"""Deploying: from a folder, a file or a SAM template to functions that run.

It owns what a deployment is made of and refuses, with file and line, what the server would have to ignore.

```
detect ──┐                                  (pure)            (pure)
         ├─► spec.Stack ──► package ──► plan ──► apply ──► the HTTP door
template ┘      source → intrinsics → schema        └─ convergence: all of a template, forwards or backwards
                                                        └─ rollout: each step written down on the server before it is taken
```

Nothing is changed before everything has been read, packaged, compared and, on a terminal, agreed to. Applying has a fixed
order (roles; streams, queues, topics and buckets; layers; functions; their aliases, asynchronous configuration, concurrency,
notifications and permissions; what else invokes them; HTTP APIs; last what has left the template), and every step looks at
what is there and changes the difference.

A template is deployed as a stack: all of it, or nothing. Its record on the server (:mod:`stack_record`) has the template, its
parameters and the code of what is deployed and of what is on its way, so that any machine can go on from there:

| What dies | What follows |
|---|---|
| a step fails | everything is put back as it was; what was made is taken away |
| the deployer, before the new revision is in place | the next deployment, or `fnrunner stack recover`, puts everything back |
| the deployer, after that | the next one takes away what has left the template, which was all that was left to do |
| the server | the deployer cannot put back what it cannot reach: as if the deployer had died |
| the deployer falls asleep | its hold on the stack runs out; when it wakes it sees that, and stops |

Two deployments of one stack at once: one is refused. What invokes a function of the template and has left the template is taken
away, and so is what the stack itself has made; what was there before it (queues, topics, streams, buckets) is used and stays.
"""
