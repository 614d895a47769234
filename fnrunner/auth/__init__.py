"""Who calls, what they may do, and what is kept from those who may not: signatures, policies, keys, and the log of calls.

::

    request ─► claims, sigv4, chunked: whose key signed exactly this
    key ─► iam (directory, identity_store): a user, or a session of a role, with policies
    action, policy, condition, pattern, principal ─► evaluation: one decision, a pure function
    master_key ─► keyring ─► sealed: secrets, environments and code are encrypted where they are stored
    call, trail: who did what, from where, and what came of it

It refuses to know HTTP, and to decide anything about resources: what an operation needs is a table (``action``),
what a resource's own policy says comes from the catalogue.

When the store dies, users and policies that are known stay in force, new sessions cannot be made, and records of calls wait.
When the master key is lost, nothing sealed can be read until it is back; nothing is overwritten meanwhile. With
``FNRUNNER_AUTH=off`` there are no users: the credentials file then says who may call function URLs that want a signature, and a
file that cannot be read lets nobody in.
"""
