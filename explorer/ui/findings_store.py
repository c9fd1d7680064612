"""The findings store of this process, shared by all browsers."""

from explorer.findings.store import FindingStore

STORE = FindingStore()
