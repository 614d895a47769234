"""`fnrunner iam`: users, roles, policies and keys of a server that wants to know who calls (``FNRUNNER_AUTH=iam``).

Everything but ``bootstrap`` goes through the server's IAM API, signed with the caller's own key, as any client's would.
"""
