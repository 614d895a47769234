"""Who calls: access keys, and the signatures made with them.

It owns the credentials file and the verification of AWS Signature Version 4. It refuses to decide what a caller may do:
every user of the file belongs to this account, and may do whatever is open to the account's users. Policies come later.

A file that cannot be read lets nobody in: keys that were known before are forgotten with it.
"""
