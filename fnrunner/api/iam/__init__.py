"""The part of IAM and STS that clients call around Lambda, in AWS's query protocol, on the same port: ``POST /``.

::

    form ─► the operation (Action, Version) ─► its parameters, by botocore's model ─► validation ─► handler ─► XML, by the model

Operations of the model that are not here are refused by name. Users and roles of other accounts do not exist.
"""
