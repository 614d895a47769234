"""Deploying: from a folder, a file or a SAM template to functions that run.

It owns what a deployment is made of and refuses, with file and line, what the server would have to ignore.

```
detect ──┐                                  (pure)            (pure)
         ├─► spec.Stack ──► package ──► plan ──► apply ──► the HTTP door
template ┘      source → intrinsics → schema        └─ convergence: all of a template, forwards or backwards
                                                        └─ rollout: each step written down on the server before it is taken
```

Nothing is changed before everything has been read, packaged, compared and, on a terminal, agreed to. Applying has a fixed
order (managed policies and roles; streams, queues, topics and buckets; layers; functions and their versions; aliases,
asynchronous configuration, concurrency, notifications and permissions; what else invokes them; HTTP APIs; last what has left
the template), and every step looks at what is there and changes the difference.

A template is read twice. aws-sam-translator, SAM's own, transforms the whole of it: it makes the execution roles
(:mod:`transform`), and what it refuses is refused here, with its message and the resource's line (:mod:`judge`). All else is
read from the template itself (:mod:`template`), for three reasons: every fault needs a line, which CloudFormation's resources
do not have any more; SAM's translator passes most properties on unread, and what is not supported has to be refused by name;
and what it makes of an API, a document in OpenAPI with integrations, would only have to be read back. So that the two readings
cannot drift apart, tests/conformance/test_sam_translation.py compares them over all examples. The judge works in a process of
its own while the deployer goes on, and knows again what it has accepted: a deployment that changes code alone costs nothing
more, and a template that is new about what is left of a second and a half when everything else is ready.

The rejected way was to deploy what the translator makes: its import would be on the way of every command, and each of the
refusals would name a resource that nobody wrote.

A template is deployed as a stack: all of it, or nothing. Its record on the server (:mod:`stack_record`) has the template, its
parameters and the code of what is deployed and of what is on its way, so that any machine can go on from there:

| What dies | What follows |
|---|---|
| a step fails | everything is put back as it was; what was made is taken away |
| the deployer, before the new revision is in place | the next deployment, or `fnrunner stack recover`, puts everything back |
| the deployer, after that | the next one takes away what has left the template, which was all that was left to do |
| the server | the deployer cannot put back what it cannot reach: as if the deployer had died |
| the deployer falls asleep | its hold on the stack runs out; when it wakes it sees that, and stops |

Versions that are resources (:mod:`release`) are published once and keep their numbers in the record; which versions a function
had before is written down first, so that on the way back exactly those go that the deployment has published. Values that one
stack exports and another imports (:mod:`export`) stay as they are while they are in use.

Moving an alias over time (DeploymentPreference Canary and Linear) is refused: it would need somebody on the server who goes on
when the deployer has ended. Weights are moved by deploying: an alias with RoutingConfig, as in examples/sam/canary.

Two deployments of one stack at once: one is refused. What invokes a function of the template and has left the template is taken
away, and so is what the stack itself has made; what was there before it (queues, topics, streams, buckets) is used and stays.
"""
